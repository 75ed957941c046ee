"""The table of this machine: where it is looked for, and which tables are refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lth_deploy.config import machine_costs as where
from lth_deploy.config.cost_table import BUNDLED, CostTable, bundled_costs, default_costs
from lth_deploy.config.machine_costs import Processor, bundled_for, costs_file, machine_costs, processor_of
from lth_deploy.config.target import Target
from lth_deploy.errors import RecipeError
from lth_deploy.workflow import machine_costs as used
from lth_deploy.workflow.machine_costs import described_costs, prediction_error, this_processor, with_machine_costs
from lth_deploy.workflow.measure_costs.measure_costs import target_text
from lth_deploy.workflow.measure_costs.quick_check import Scaled

HERE = Processor("Some CPU", "best", "Maker 7", ("avx2", "fma"))


def table(**changes: object) -> CostTable:
    """A table with few rates."""
    values = {
        **{"cpu": HERE.cpu, "isa": HERE.isa, "family": HERE.family, "instructions": list(HERE.instructions)},
        **{"fitted": "2026-11-29", "kernels": {"add": 0.1}, "stock": {"Add": 0.2}},
    }
    return CostTable.model_validate({**values, **changes})


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the table of this machine is looked for; it is not there yet."""
    monkeypatch.delenv("LTH_COSTS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = costs_file(HERE)
    assert found is not None
    assert found.parent == tmp_path / "lth-deploy" / "costs"
    found.parent.mkdir(parents=True)
    return found


def test_the_table_of_this_machine_is_used_where_it_is_and_the_target_has_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(used, "this_processor", lambda: HERE)
    monkeypatch.setattr(used, "bundled_costs", lambda: {BUNDLED: default_costs()})
    monkeypatch.setattr(used, "_scaled", lambda _: {})
    assert with_machine_costs(Target()).costs == default_costs()
    file.write_text(target_text("this_machine", table()))
    assert with_machine_costs(Target()).costs == table()
    assert described_costs(with_machine_costs(Target())) == "measured on Some CPU (Maker 7), 2026-11-29"
    own = Target(costs=CostTable(layout_ns=3))
    assert with_machine_costs(own) is own
    monkeypatch.setenv("LTH_COSTS", "none")
    assert with_machine_costs(Target()).costs == default_costs()


def test_a_named_file_must_be_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_COSTS", str(file))
    with pytest.raises(RecipeError, match="cannot be used: cannot read"):
        machine_costs(HERE)


CLOSENESS = {"closer": 0.1, "other": 0.2}
CHANGES: list[dict[str, Any]] = [
    {"cpu": "Other CPU"},
    {"isa": "avx2"},
    {"family": "Maker 8"},
    {"instructions": ("avx2", "fma", "avx512f")},
]


@pytest.mark.parametrize("change", CHANGES)
def test_each_processor_and_instruction_set_has_a_table_of_its_own(change: dict[str, Any], file: Path) -> None:
    file.write_text(target_text("this_machine", table()))
    other = replace(HERE, **change)
    assert machine_costs(HERE) == table()
    assert machine_costs(other) is None  # and a bundled or the closest table is taken
    own = table(**change, kernels={"add": 0.3})
    named = costs_file(other)
    assert named is not None
    named.write_text(target_text("this_machine", own))
    assert (machine_costs(other), machine_costs(HERE)) == (own, table())


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_is_named_is_refused_on_another_processor(
    change: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(target_text("this_machine", table()))
    monkeypatch.setenv("LTH_COSTS", str(file))
    assert machine_costs(HERE) == table()
    with pytest.raises(RecipeError, match=r"was measured on 'Some CPU' .Maker 7, best., this is .*measure-costs"):
        machine_costs(replace(HERE, **change))


def test_of_a_table_without_a_family_the_name_is_all_that_is_known(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_COSTS", str(file))
    old = table(family="", instructions=[])
    file.write_text(target_text("this_machine", old))
    assert machine_costs(replace(HERE, family="Maker 8")) == old
    with pytest.raises(RecipeError, match="was measured on"):
        machine_costs(replace(HERE, cpu="Other CPU"))


def test_a_bundled_table_is_of_the_same_design_and_not_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"old": table(family=""), "own": table()}
    monkeypatch.setattr(where, "bundled_costs", lambda: tables)
    assert bundled_for(replace(HERE, cpu="the same design under another name")) == "own"
    assert bundled_for(replace(HERE, family="Maker 8")) is None
    assert bundled_for(replace(HERE, instructions=("avx2",))) is None
    assert bundled_for(replace(HERE, family="")) is None
    assert bundled_for(replace(HERE, isa="avx2")) is None


def scaled(errors: dict[str, float]) -> Callable[[dict[str, CostTable]], dict[str, Scaled]]:
    """In the place of a measurement: tables whose kernels need 1.5 times as long in float32, and twice in int8."""
    return lambda tables: {name: Scaled(tables[name], 1.5, 2.0, errors[name]) for name in errors if name in tables}


@pytest.mark.parametrize(
    ("errors", "chosen", "sure"),
    [({BUNDLED: 0.3, "other": 0.1}, "other", 0.1), ({BUNDLED: 0.4, "other": 0.5}, BUNDLED, 0.4), ({}, BUNDLED, None)],
)
def test_without_a_table_of_this_processor_the_closest_is_used_and_named(
    errors: dict[str, float],
    chosen: str,
    sure: float | None,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tables = {BUNDLED: table(family="Maker 8", error=0.05), "other": table(family="Maker 9", error=0.05)}
    monkeypatch.setattr(used, "this_processor", lambda: HERE)
    monkeypatch.setattr(used, "bundled_for", lambda _: None)
    monkeypatch.setattr(used, "bundled_costs", lambda: tables)
    monkeypatch.setattr(used, "_scaled", scaled(errors))
    found = with_machine_costs(Target())
    assert found.costs.family == tables[chosen].family
    assert found.costs.error == pytest.approx(0.05 if sure is None else 1.5 * sure)
    (line,) = [record.getMessage() for record in caplog.records if "no cost table" in record.getMessage()]
    assert f"predictions are those of '{chosen}'" in line
    assert "run lth-deploy measure-costs" in line
    if sure is not None:
        assert "1.50 times as long in fp32 and 2.00 times in int8" in line
        assert f"off by up to {100 * sure:.0f} %" in line
        assert described_costs(found).endswith(f"scaled to {HERE}")


@pytest.mark.parametrize(("error", "chosen"), [(0.2, "relative"), (0.3, "closer")])
def test_a_table_of_the_same_family_is_taken_where_it_fits(
    error: float, chosen: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"closer": table(family="Maker 8"), "relative": table(instructions=["avx2"])}
    monkeypatch.setattr(used, "this_processor", lambda: HERE)
    monkeypatch.setattr(used, "bundled_for", lambda _: None)
    monkeypatch.setattr(used, "bundled_costs", lambda: tables)
    monkeypatch.setattr(used, "_scaled", scaled({"closer": 0.1, "relative": error}))
    assert with_machine_costs(Target()).costs.family == tables[chosen].family


def test_of_bf16_a_table_is_taken_that_has_rates_of_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_bf16 = table(family="Maker 9", kernels={"add": 0.1, "bf16 conv.macs": 0.01})
    monkeypatch.setattr(used, "this_processor", lambda: HERE)
    monkeypatch.setattr(used, "bundled_for", lambda _: None)
    monkeypatch.setattr(used, "bundled_costs", lambda: {"closer": table(family="Maker 8"), "other": with_bf16})
    monkeypatch.setattr(used, "_scaled", scaled(CLOSENESS))
    assert with_machine_costs(Target()).costs.family == "Maker 8"
    assert with_machine_costs(Target(values="bf16")).costs.family == "Maker 9"


def test_nothing_is_measured_where_the_same_input_must_give_the_same_bytes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(used, "this_processor", lambda: HERE)
    monkeypatch.setattr(used, "_scaled", lambda _: pytest.fail("it was measured"))
    assert with_machine_costs(Target(profile=False)).costs == default_costs()


def test_bundled_tables_say_of_which_processor_they_are() -> None:
    for name, one in bundled_costs().items():
        assert one.family, name
        assert bundled_for(processor_of(one)) == name


@pytest.mark.parametrize("rate", ["-0.1", ".nan", ".inf", "1e9", "'fast'", "{}"])
def test_impossible_rates_are_refused_in_one_sentence(rate: str, file: Path) -> None:
    text = target_text("this_machine", table())
    assert text.count("add: 0.1") == 1
    file.write_text(text.replace("add: 0.1", f"add: {rate}"))
    with pytest.raises(RecipeError) as error:
        machine_costs(HERE)
    assert len(str(error.value).splitlines()) == 1
    assert "kernels.add" in str(error.value)
    assert "run lth-deploy measure-costs on this machine" in str(error.value)


def test_rates_of_layers_are_above_zero(file: Path) -> None:
    file.write_text("name: own\ncosts: {conv: {dense: 0, sparse: 40}}\n")
    with pytest.raises(RecipeError, match=r"costs\.conv\.dense: Input should be greater than 0; found 0"):
        machine_costs(HERE)


def test_a_table_without_rates_of_operators_is_refused(file: Path) -> None:
    file.write_text("name: own\n")
    with pytest.raises(RecipeError, match="has no rates of operators"):
        machine_costs(HERE)


def test_the_bundled_table_predicts_whole_models() -> None:
    bundled = Target().costs
    assert bundled.predicts_whole_models
    assert bundled.error is not None
    assert bundled.cpu


def test_a_table_is_described_by_its_name_where_it_comes_with_the_package() -> None:
    bundled = Target(costs=default_costs().model_copy(update={"error": 0.9}))
    assert described_costs(bundled).startswith(f"bundled table '{BUNDLED}', measured on {default_costs().cpu} (")
    assert described_costs(Target(costs=table(isa="avx2"))) == "measured on Some CPU (Maker 7, avx2), 2026-11-29"
    assert described_costs(Target(costs=CostTable())) == "not measured by measure-costs"


def test_what_has_no_rate_makes_predictions_less_sure() -> None:
    target = Target(costs=table(error=0.08))
    assert prediction_error(target, 0.0) == pytest.approx(0.08)
    assert prediction_error(target, 0.12) == pytest.approx(0.1)
    assert prediction_error(target, None) is None
    assert prediction_error(Target(costs=table()), 0.0) is None


def test_the_processor_has_a_name() -> None:
    here = this_processor()
    assert here.cpu
    assert here.isa
    assert here.is_like(table(isa=here.isa, family=here.family, instructions=list(here.instructions)))
