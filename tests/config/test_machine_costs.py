"""The table of this machine: where it is looked for, and which tables are refused."""

from pathlib import Path

import pytest

from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.machine_costs import costs_file, machine_costs
from lth_deploy.config.target import Target
from lth_deploy.errors import RecipeError
from lth_deploy.workflow import machine_costs as used
from lth_deploy.workflow.machine_costs import described_costs, prediction_error, this_processor, with_machine_costs
from lth_deploy.workflow.measure_costs.measure_costs import target_text

CPU, ISA = "Some CPU", "best"


def table(**changes: object) -> CostTable:
    """A table with few rates."""
    values = {"cpu": CPU, "isa": ISA, "fitted": "2026-11-29", "kernels": {"add": 0.1}, "stock": {"Add": 0.2}}
    return CostTable.model_validate({**values, **changes})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the table of this machine is looked for; it is not there yet."""
    monkeypatch.delenv("LTH_COSTS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = costs_file()
    assert found == tmp_path / "lth-deploy" / "costs.yaml"
    found.parent.mkdir()
    return found


def test_the_table_of_this_machine_is_used_where_it_is_and_the_target_has_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(used, "this_processor", lambda: (CPU, ISA))
    assert with_machine_costs(Target()).costs == default_costs()
    file.write_text(target_text("this_machine", table()))
    assert with_machine_costs(Target()).costs == table()
    assert "measured on Some CPU, 2026-11-29" in described_costs(with_machine_costs(Target()))
    own = Target(costs=CostTable(layout_ns=3))
    assert with_machine_costs(own) is own
    monkeypatch.setenv("LTH_COSTS", "none")
    assert with_machine_costs(Target()).costs == default_costs()


def test_a_named_file_must_be_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_COSTS", str(file))
    with pytest.raises(RecipeError, match="cannot be used: cannot read"):
        machine_costs(CPU, ISA)


def test_a_table_of_another_processor_is_refused(file: Path) -> None:
    file.write_text(target_text("this_machine", table()))
    assert machine_costs(CPU, ISA) == table()
    for cpu, isa in (("Other CPU", ISA), (CPU, "avx2")):
        with pytest.raises(RecipeError, match=r"was measured on 'Some CPU' .best., this is .*measure-costs"):
            machine_costs(cpu, isa)


@pytest.mark.parametrize("rate", ["-0.1", ".nan", ".inf", "1e9", "'fast'", "{}"])
def test_impossible_rates_are_refused_in_one_sentence(rate: str, file: Path) -> None:
    text = target_text("this_machine", table())
    assert text.count("add: 0.1") == 1
    file.write_text(text.replace("add: 0.1", f"add: {rate}"))
    with pytest.raises(RecipeError) as error:
        machine_costs(CPU, ISA)
    assert len(str(error.value).splitlines()) == 1
    assert "kernels.add" in str(error.value)
    assert "run lth-deploy measure-costs on this machine" in str(error.value)


def test_rates_of_layers_are_above_zero(file: Path) -> None:
    file.write_text("name: own\ncosts: {conv: {dense: 0, sparse: 40}}\n")
    with pytest.raises(RecipeError, match=r"costs\.conv\.dense: Input should be greater than 0; found 0"):
        machine_costs(CPU, ISA)


def test_a_table_without_rates_of_operators_is_refused(file: Path) -> None:
    file.write_text("name: own\n")
    with pytest.raises(RecipeError, match="has no rates of operators"):
        machine_costs(CPU, ISA)


def test_the_bundled_table_predicts_whole_models() -> None:
    bundled = Target().costs
    assert bundled.predicts_whole_models
    assert bundled.error is not None
    assert bundled.cpu


def test_what_has_no_rate_makes_predictions_less_sure() -> None:
    target = Target(costs=table(error=0.08))
    assert prediction_error(target, 0.0) == pytest.approx(0.08)
    assert prediction_error(target, 0.12) == pytest.approx(0.1)
    assert prediction_error(target, None) is None
    assert prediction_error(Target(costs=table()), 0.0) is None


def test_the_processor_has_a_name() -> None:
    cpu, isa = this_processor()
    assert cpu
    assert isa
