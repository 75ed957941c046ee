"""`export --tune`: regions are timed against dense, and those that lose run dense."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from lth_deploy.compiler.artifact.inline_regions import has_regions
from lth_deploy.compiler.artifact.metadata import WHOLE
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.mac_count import Uses
from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError, MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.measure.latency import Timing
from lth_deploy.workflow.export import tune_regions as tuning
from lth_deploy.workflow.export.tune_regions import emit_chosen, measure_regions
from lth_deploy.workflow.export.tune_whole import PairTimes
from tests.hostile.make_corpus import valid_int8_region, valid_region

QUICK = Timing(seconds=0.02, block_seconds=0.01, minimum_rounds=2)
FEEDS = {"x": np.ones((1, 64, 12, 12), np.float32)}
USED = Uses({"w": 144, "v": 144}, {"w": 1, "v": 1})


@pytest.mark.parametrize("made", [valid_region, valid_int8_region])
def test_every_region_is_timed(made: Callable[[], ModelProto]) -> None:
    try:
        ops_library()
    except MissingLibraryError as error:
        pytest.skip(str(error))
    times = measure_regions(made(), FEEDS, QUICK)
    assert set(times) == {"Region0"}
    assert all(time > 0 for pair in times.values() for time in pair)


@pytest.mark.parametrize("kernels", [1.0, 3.0])
def test_a_region_that_loses_is_given_up(kernels: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(model: object, feeds: object, timing: object) -> dict[str, tuple[float, float]]:
        regions = {"Region0": (kernels, 2.0)} if has_regions(model) else {}  # type: ignore[arg-type]
        return regions

    monkeypatch.setattr(tuning, "measure_regions", measured)
    monkeypatch.setattr(tuning, "time_whole", lambda *_: PairTimes(3.0, 4.0, 0.75))
    monkeypatch.setattr(tuning, "ops_library", Path)
    made = emit_chosen(normalize(valid_region()), Target(tune=True), USED, FEEDS)
    assert made.measured is not None
    assert made.measured.times[WHOLE] == (3.0, 4.0)
    assert has_regions(made.model) == (kernels < 2.0)
    reasons = {layer.dense_because for layer in made.layers}
    assert reasons == ({None} if kernels < 2.0 else {"measured for its region: 3.00 ms with kernels, 2.00 ms dense"})


def test_a_region_that_is_faster_alone_is_given_up_where_the_model_is_slower_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def whole(model: ModelProto, feeds: object, pairs: int) -> PairTimes:
        return PairTimes(4.76, 4.0, 1.19) if has_regions(model) else PairTimes(4.0, 4.0, 1.0)

    monkeypatch.setattr(tuning, "measure_regions", lambda *_: {"Region0": (1.0, 2.0)})
    monkeypatch.setattr(tuning, "ops_library", Path)
    monkeypatch.setattr(tuning, "time_whole", whole)
    made = emit_chosen(normalize(valid_region()), Target(tune=True), USED, FEEDS)
    assert not has_regions(made.model)
    assert made.measured is not None
    assert made.measured.times == {WHOLE: (4.0, 4.0)}
    reasons = {layer.dense_because for layer in made.layers}
    assert reasons == {"measured: with its region the model takes 4.76 ms, dense 4.00 ms"}


def test_nothing_is_timed_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "measure_regions", None)
    made = emit_chosen(normalize(valid_region()), Target(), USED, FEEDS)
    assert made.measured is None
    assert has_regions(made.model)


def test_the_rest_is_known_where_regions_are() -> None:
    assert emit_chosen(normalize(valid_region()), Target(), USED, FEEDS).unpredicted_ms is not None
    assert emit_chosen(normalize(valid_region()), Target(regions="none"), USED, FEEDS).unpredicted_ms is None
    layers_only = Target(profile=False, costs=CostTable())
    assert emit_chosen(normalize(valid_region()), layers_only, USED, FEEDS).unpredicted_ms is None


@pytest.mark.parametrize(
    ("where", "costs", "said"),
    [("unpredicted_time", CostTable(), "predict the layers only"), ("predict_model", default_costs(), "whole model")],
)
def test_without_a_profile_only_layers_are_predicted(
    where: str, costs: CostTable, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object) -> None:
        raise ArtifactError("no space left for a profile")

    monkeypatch.setattr(f"lth_deploy.compiler.planning.{where}.stock_times", failing)
    made = emit_chosen(normalize(valid_region()), Target(costs=costs), USED, FEEDS)
    assert made.unpredicted_ms is None
    assert has_regions(made.model)
    assert said in caplog.text
    assert "no space left" in caplog.text
