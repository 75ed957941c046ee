"""Regions by prediction alone: those that lose by the table are given up, and the times of the rest add up."""

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.inline_regions import has_regions
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.mac_count import Uses, value_shapes
from lth_deploy.compiler.planning.predict_model import DenseRun, dense_run, predict_model
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.predicted_plan import WORTH
from lth_deploy.workflow.export.tune_regions import emit_chosen
from tests.hostile.make_corpus import valid_region

FEEDS = {"x": np.ones((1, 64, 12, 12), np.float32)}
USED = Uses({"w": 144, "v": 144}, {"w": 1, "v": 1})


def table(kernels: float) -> CostTable:
    """The bundled rates, with kernels that take so many times as long."""
    bundled = default_costs()
    return bundled.model_copy(update={"kernels": {name: kernels * rate for name, rate in bundled.kernels.items()}})


def _target(costs: CostTable) -> Target:
    return Target(values="fp32", region_zeros=0, costs=costs)


def test_a_region_that_loses_by_the_table_is_given_up() -> None:
    model = normalize(valid_region())
    fast = emit_chosen(model, _target(table(0.01)), USED, FEEDS)
    assert has_regions(fast.model)
    assert fast.unrated == 0.0
    # Each layer by itself gains here; stores and loads at the borders are what loses.
    costs = table(0.01)
    costs = costs.model_copy(update={"kernels": costs.kernels | {"store": 1e5, "load": 1e5}})
    slow = emit_chosen(model, _target(costs), USED, FEEDS)
    assert not has_regions(slow.model)
    reasons = {layer.dense_because for layer in slow.layers}
    assert all(str(reason).startswith("predicted for its region: ") for reason in reasons)


def test_what_is_a_little_faster_is_not_worth_a_region() -> None:
    model = normalize(valid_region())
    costs = table(0.01)
    kept = emit_chosen(model, _target(costs), USED, FEEDS)
    run = dense_run(kept.model, FEEDS, profiled=False)
    free, dear = (_with_store(costs, rate) for rate in (0.0, 1.0))
    (least,), (more,) = (predict_model(kept.model, run, FEEDS, one).regions.values() for one in (free, dear))
    for share in (WORTH - 0.02, WORTH + 0.02):
        longer = _with_store(costs, (share * least.dense - least.kernels) / (more.kernels - least.kernels))
        assert has_regions(emit_chosen(model, _target(longer), USED, FEEDS).model) == (share < WORTH)


def test_shapes_are_asked_for_once_whatever_the_number_of_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def counted(model: ModelProto, names: Sequence[str], feeds: Feeds) -> dict[str, tuple[int, ...]]:
        asked.append(tuple(names))
        return value_shapes(model, names, feeds)

    monkeypatch.setattr("lth_deploy.compiler.planning.predict_model.value_shapes", counted)
    model, target = normalize(valid_region()), _target(table(0.01))
    whole = emit(model, target, Facts(USED.positions, by_table=False))[0]
    smaller = emit(model, target, Facts(USED.positions, {"v": "slow"}, by_table=False))[0]
    run = dense_run(whole, FEEDS, profiled=False)
    both = [predict_model(one, run, FEEDS, target.costs) for one in (whole, smaller)]
    assert len(asked) == 1
    anew = predict_model(smaller, DenseRun(run.operators, False), FEEDS, target.costs)
    assert both[1] == anew != both[0]


def _with_store(costs: CostTable, rate: float) -> CostTable:
    return costs.model_copy(update={"kernels": costs.kernels | {"store": rate}})


def test_the_times_of_layers_and_of_the_rest_are_those_of_the_model() -> None:
    costs = table(0.01)
    made = emit_chosen(normalize(valid_region()), _target(costs), USED, FEEDS)
    run = dense_run(made.model, FEEDS, profiled=False)
    found = predict_model(made.model, run, FEEDS, costs)
    (pair,) = found.regions.values()
    assert made.unpredicted_ms == (found.rest.kernels, found.rest.dense)
    assert sum(layer.sparse_ms or 0.0 for layer in made.layers) == pytest.approx(pair.kernels)
    assert sum(layer.dense_ms or 0.0 for layer in made.layers) == pytest.approx(pair.dense)


def test_an_operator_without_a_rate_takes_its_share_of_a_profile() -> None:
    costs = table(0.01)
    made = emit_chosen(normalize(valid_region()), _target(costs), USED, FEEDS)
    run = dense_run(made.model, FEEDS, profiled=True)
    rated = sum(one.time.us for one in run.operators)
    layers = [one for one in run.operators if one.weight is not None]
    stranger = layers[0].__class__(layers[0].time.__class__("s", "Stranger", rated, ((1, 2),), ((1, 2),)), None, None)
    whole = predict_model(made.model, DenseRun(run.operators, True), FEEDS, costs)
    longer = predict_model(made.model, DenseRun([*run.operators, stranger], True), FEEDS, costs)
    assert longer.unrated == pytest.approx(0.5)
    assert sum(longer.layers.values()) == pytest.approx(2 * sum(whole.layers.values()))
    without = predict_model(made.model, DenseRun([*run.operators, stranger], False), FEEDS, costs)
    assert without.unrated == 0.0
