"""`export --tune`, the whole model: what it costs decides, not what its regions gain by themselves."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.errors import MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.workflow.export.tune_whole import (
    OPTIONS,
    PAIRS,
    ROUNDS,
    SLOWEST,
    PairTimes,
    Plan,
    not_slower,
    time_whole,
)
from tests.hostile.make_corpus import valid_region

DENSE = 100.0


class Machine:
    """A model whose layers are a region each, and what every region adds to the time of the whole."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.costs = costs
        self.calls: list[tuple[int, int]] = []

    def emit(self, slower: Mapping[str, str]) -> Plan:
        inside = [name for name in self.costs if name not in slower]
        places = {name: f"Region{number}" for number, name in enumerate(inside)}
        layers = [_layer(name, places.get(name), slower.get(name)) for name in self.costs]
        return Plan(ModelProto(), layers, slower)

    def measure(self, plan: Plan, pairs: int) -> PairTimes:
        self.calls.append((len(plan.regions), pairs))
        kernels = DENSE + sum(self.costs[layer.name] for layer in plan.layers if layer.region is not None)
        return PairTimes(kernels, DENSE, kernels / DENSE)

    def run(self, gains: Mapping[str, float] | None = None) -> tuple[Plan, PairTimes]:
        return not_slower(self.emit({}), gains or {}, self.emit, self.measure)


def _layer(name: str, region: str | None, reason: str | None) -> LayerReport:
    return LayerReport(
        name=name,
        op_type="Conv",
        shape=(1,),
        elements=1,
        zeros=0,
        uses=1,
        coding="dense",
        value_type="fp16",
        bytes=2,
        dense_bytes=4,
        entropy_bytes=2.0,
        reason=None,
        region=region,
        dense_because=reason,
    )


def _kept(plan: Plan) -> list[str]:
    return [layer.name for layer in plan.layers if layer.region is not None]


def test_a_model_that_is_not_slower_keeps_all_regions() -> None:
    machine = Machine({"a": -10.0, "b": 2.0, "c": 10.9})
    plan, whole = machine.run()
    assert _kept(plan) == ["a", "b", "c"]
    assert 1.0 < whole.ratio <= SLOWEST
    assert machine.calls == [(3, PAIRS)]


def test_regions_are_given_up_that_cost_the_model_most() -> None:
    machine = Machine({"a": -1.0, "b": 12.0, "c": -2.0, "d": 9.0, "e": 1.0})
    plan, whole = machine.run()
    assert _kept(plan) == ["a", "c", "e"]
    assert not whole.slower
    reasons = {layer.name: layer.dense_because for layer in plan.layers}
    assert reasons["b"] == "measured: with its region the model takes 119.00 ms, dense 100.00 ms"
    assert reasons["d"] == "measured: with its region the model takes 107.00 ms, dense 100.00 ms"
    assert machine.calls[-1] == (3, PAIRS)


def test_regions_that_gain_little_by_themselves_are_tried_first() -> None:
    costs = {f"layer{number:02}": -0.1 for number in range(12)} | {"bad": 50.0}
    gains = {f"Region{number}": 5.0 for number in range(12)} | {"Region12": 0.1}
    machine = Machine(costs)
    plan, _ = machine.run(gains)
    assert "bad" not in _kept(plan)
    assert len(_kept(plan)) == 12
    assert len(machine.calls) == 3  # all, without the first tried, the verdict


def test_one_slow_region_leaves_none() -> None:
    plan, whole = Machine({"a": 19.0}).run()
    assert _kept(plan) == []
    assert whole.ratio == 1.0


def test_the_number_of_rounds_is_bounded_and_no_slow_region_is_left() -> None:
    machine = Machine({f"layer{number:02}": 4.0 for number in range(40)})
    plan, whole = machine.run()
    assert _kept(plan) == []
    assert not whole.slower
    assert len(machine.calls) <= 1 + ROUNDS * (OPTIONS + 1)


def test_a_model_is_timed_in_pairs() -> None:
    try:
        ops_library()
    except MissingLibraryError as error:
        pytest.skip(str(error))
    whole = time_whole(valid_region(), {"x": np.ones((1, 64, 12, 12), np.float32)}, 5)
    assert min(whole.kernels, whole.dense, whole.ratio) > 0
    assert whole.slower == (whole.ratio > SLOWEST)
    assert not list(Path().glob("*.onnx"))
