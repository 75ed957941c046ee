"""`measure-costs`: known rates come back, and probes are timed on both sides. Nothing is held to a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from lth_deploy.compiler.planning.amounts import is_int8
from lth_deploy.config import strict_yaml
from lth_deploy.config.cost_table import MOST_NANOSECONDS
from lth_deploy.config.machine_costs import CostsFile, Processor, processor_of
from lth_deploy.config.target import Target
from lth_deploy.config.validation import validate
from lth_deploy.errors import MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.workflow.measure_costs import measure_costs as measuring
from lth_deploy.workflow.measure_costs.fit import fitted_table, ratios
from lth_deploy.workflow.measure_costs.observe import Observation, Observed, observe
from lth_deploy.workflow.measure_costs.probes import probes
from lth_deploy.workflow.measure_costs.quick_check import scaled_to

SOME = Processor("Some CPU", "best", "Maker 7", ("avx2", "fma"))
KERNELS = {"conv.macs": 0.02, "store": 0.7, "call": 900.0}
STOCK = {"conv.macs": 0.019, "Concat": 0.2, "call": 3000.0}


def observed(scale: float, kernels: dict[str, float] = KERNELS, stock: dict[str, float] = STOCK) -> Observed:
    """Operators that take exactly what these rates say."""
    sides = []
    for rates in (kernels, stock):
        macs, values, call = rates
        amounts = [{macs: 1e6 * scale, call: 1.0}, {values: 1e5 * scale}, {macs: 3e6, call: 1.0}]
        sides.append([Observation(one, sum(rates[name] * amount for name, amount in one.items())) for one in amounts])
    return Observed(*sides, *(sum(one.ns for one in side) for side in sides))


def test_known_rates_come_back_and_predict_without_error() -> None:
    seen = [observed(scale) for scale in (1.0, 2.0, 5.0)]
    table = fitted_table(seen, SOME, "today")
    assert table.kernels == pytest.approx(KERNELS | {"region": 0.0}, rel=1e-3)
    assert table.stock == pytest.approx(STOCK | {"run": 0.0}, rel=1e-3)
    assert (processor_of(table), table.fitted) == (SOME, "today")
    assert table.error == 0.1  # no prediction is taken for better than that
    for predicted, measured in ratios(seen, table):
        assert predicted == pytest.approx(measured, rel=1e-3)


def test_whole_runs_say_what_is_in_no_operator_and_how_long_timing_takes() -> None:
    """A run begins and ends with 20 us, in a region with 50 us; a timed operator takes 100 ns more than in a run."""
    seen = []
    for scale, times in ((1.0, 7), (2.0, 1), (5.0, 3), (9.0, 1), (1.0, 40)):
        one = observed(scale)
        sides = [
            [Observation(each.amounts, each.ns + 100.0) for each in side] * times for side in (one.kernels, one.stock)
        ]
        whole = [times * ns + start for ns, start in ((one.kernels_ns, 50e3), (one.stock_ns, 20e3))]
        seen.append(Observed(sides[0], sides[1], *whole))
    table = fitted_table(seen, SOME, "today")
    assert table.kernels == pytest.approx(KERNELS | {"region": 30e3}, rel=1e-2)
    assert table.stock == pytest.approx(STOCK | {"run": 20e3}, rel=1e-2)
    for predicted, measured in ratios(seen, table):
        assert predicted == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("probe", range(4))
def test_an_operator_that_was_interrupted_in_every_round_changes_no_rate(probe: int) -> None:
    """Other work took 5 ms, which are in the time of the operator and not in the processor time of the run."""
    seen = [observed(scale) for scale in (1.0, 2.0, 5.0, 9.0)]
    sides = [[replace(side[0], ns=side[0].ns + 5e6), *side[1:]] for side in (seen[probe].kernels, seen[probe].stock)]
    seen[probe] = replace(seen[probe], kernels=sides[0], stock=sides[1])
    table = fitted_table(seen, SOME, "today")
    assert table.kernels == pytest.approx(KERNELS | {"region": 0.0}, rel=1e-3)
    assert table.stock == pytest.approx(STOCK | {"run": 0.0}, rel=1e-3)
    assert table.error == 0.1


def test_an_operator_that_is_slow_by_itself_counts() -> None:
    seen = [observed(scale) for scale in (1.0, 2.0, 5.0, 9.0)]
    slow = [replace(seen[1].kernels[0], ns=seen[1].kernels[0].ns + 5e6), *seen[1].kernels[1:]]
    seen[1] = replace(seen[1], kernels=slow, kernels_ns=seen[1].kernels_ns + 5e6)
    assert (fitted_table(seen, SOME, "today").error or 0.0) > 0.3


def test_runs_that_other_work_made_long_give_no_impossible_table() -> None:
    seen = [replace(observed(scale), kernels_ns=1e7 + 1e6 * scale) for scale in (1.0, 2.0, 5.0)]
    assert fitted_table(seen, SOME, "today").kernels["region"] <= MOST_NANOSECONDS


def test_a_table_is_scaled_to_what_a_few_networks_take_here() -> None:
    """Kernels take 1.3 times as long in float32 as where the table was made, and 2.5 times in int8."""
    rates = KERNELS | {"int8 conv.macs": 0.005, "int8 quantize": 0.4}
    int8 = {"int8 conv.macs": 0.005, "int8 quantize": 0.4, "call": 900.0}
    table = fitted_table([observed(1.0), observed(3.0, int8)], SOME, "today").model_copy(update={"kernels": rates})
    floats = [observed(scale, {name: 1.3 * rate for name, rate in KERNELS.items()}) for scale in (1.0, 2.0)]
    bytes_ = [
        observed(scale, {name: (2.5 if is_int8(name) else 1.3) * rate for name, rate in int8.items()})
        for scale in (1.0, 2.0)
    ]
    found = scaled_to(table, floats, bytes_)
    assert (found.floats, found.int8) == (pytest.approx(1.3, rel=1e-3), pytest.approx(2.5, rel=1e-3))
    assert found.error < 1e-3
    assert found.table.kernels["conv.macs"] == pytest.approx(1.3 * 0.02, rel=1e-3)
    assert found.table.kernels["int8 conv.macs"] == pytest.approx(2.5 * 0.005, rel=1e-3)
    assert found.table.stock == table.stock
    uneven = scaled_to(table, [floats[0], observed(2.0)], bytes_)
    assert 0.1 < uneven.error < 0.2  # 1.3 and 1: both are off by the root of it, 14 %


def test_what_the_rates_do_not_explain_makes_the_table_less_sure() -> None:
    slower = observed(1.0, kernels={name: 2 * rate for name, rate in KERNELS.items()})
    table = fitted_table([observed(1.0), slower], SOME, "today")
    assert table.error is not None
    assert table.error > 0.3


def test_the_table_is_written_where_exports_look_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, out = tmp_path / "own" / "costs.yaml", tmp_path / "my.yaml"
    monkeypatch.setenv("LTH_COSTS", str(own))
    few = [probe for probe in probes() if probe.name == "activations"][:1]
    monkeypatch.setattr("lth_deploy.workflow.measure_costs.probes.probes", lambda bf16, tiles: iter(few))
    monkeypatch.setattr("lth_deploy.workflow.measure_costs.observe.observe", lambda probe, rounds: observed(1.0))
    made = measuring.measure_costs(out, name="mine")
    assert made.files == (out, own)
    target = validate(Target, strict_yaml.load(out))
    assert target.name == "mine"
    assert target.costs == made.table == validate(CostsFile, strict_yaml.load(own)).costs
    assert measuring.measure_costs(None, keep=False).files == ()


@pytest.mark.parametrize("quantized", [False, True])
def test_every_operator_of_a_probe_is_seen_on_both_sides(quantized: bool) -> None:
    try:
        ops_library()
    except MissingLibraryError as error:
        pytest.skip(str(error))
    probe = next(one for one in probes() if one.name == "pools" and one.quantized == quantized)
    found = observe(probe, rounds=2)
    names = [{name for one in side for name in one.amounts} for side in (found.kernels, found.stock)]
    assert {"int8 maxpool", "int8 load"} <= names[0] if quantized else {"maxpool rim", "load", "multiply"} <= names[0]
    assert "int8 pointwise.macs" in names[1] if quantized else {"MaxPool taps", "pointwise.macs"} <= names[1]
    assert all(one.ns >= 0 for side in (found.kernels, found.stock) for one in side)


def test_probes_have_layers_that_the_stock_runtime_leaves_in_the_layout_of_the_model() -> None:
    """Of several sizes, or their multiplications could not be separated from their values."""
    (probe,) = (one for one in probes() if one.name == "odd")
    shapes = [tensor.dims for tensor in probe.graph().model().graph.initializer if len(tensor.dims) == 4]
    plain = [(outputs, inputs, kernel) for outputs, inputs, kernel, _ in shapes if inputs % 4 and inputs > 3]
    assert len({inputs * kernel**2 for _, inputs, kernel in plain if kernel == 3}) >= 3
    assert len({inputs for _, inputs, kernel in plain if kernel == 1}) >= 3


def test_probes_have_every_structure_that_has_rates_of_its_own() -> None:
    every = list(probes())
    assert {(probe.quantized, probe.block.outputs, probe.block.inputs) for probe in every} >= {
        (False, 1, 1),
        (False, 2, 1),
        (True, 1, 4),
        (True, 2, 4),
    }
