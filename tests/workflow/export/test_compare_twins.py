"""An int8 file is compared with the dense model in fp32, and says where that is faster."""

import logging
from typing import Any

import numpy as np
import pytest

from lth_deploy.compiler.artifact.metadata import WHOLE, Measured
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.mac_count import Uses
from lth_deploy.config.cost_table import CostTable, default_costs
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from lth_deploy.measure.float_twin import FloatTwin
from lth_deploy.workflow.export import compare_twins
from lth_deploy.workflow.export.compare_twins import float_twin
from lth_deploy.workflow.export.predicted_plan import Chosen
from lth_deploy.workflow.export.tune_regions import emit_chosen
from lth_deploy.workflow.export.tune_whole import PairTimes
from tests.hostile.make_corpus import valid_int8_region, valid_region

FEEDS = {"x": np.ones((1, 64, 12, 12), np.float32)}
USED = Uses({"w": 144, "v": 144}, {"w": 1, "v": 1})


def table(kernels: float, int8: float) -> CostTable:
    """The bundled rates with kernels, and int8 operators of the stock runtime, that take so many times as long."""
    bundled = default_costs()
    stock = {name: rate * (int8 if "int8" in name else 1.0) for name, rate in bundled.stock.items()}
    rates = {name: kernels * rate for name, rate in bundled.kernels.items()}
    return bundled.model_copy(update={"kernels": rates, "stock": stock})


def compared(costs: CostTable, **target: Any) -> tuple[Chosen, FloatTwin | None]:
    wanted = Target(values="int8", costs=costs, region_zeros=0, region_quads=0, profile=False, **target)
    stored = normalize(valid_int8_region())
    chosen = emit_chosen(stored, wanted, USED, FEEDS)
    return chosen, float_twin(chosen, normalize(valid_region()), stored, wanted, FEEDS)


def test_fast_kernels_make_int8_pay(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    chosen, found = compared(table(0.01, 1.0))
    assert found is not None
    assert chosen.whole is not None
    assert (found.int8, found.dense_int8) == (chosen.whole.kernels, chosen.whole.dense)
    assert found.int8 < found.dense_int8 < found.dense_fp32
    assert found.int8_pays
    assert "fp32 would be faster" not in caplog.text


@pytest.mark.parametrize("kernels", [0.9, 1e6])
def test_an_int8_file_that_loses_to_dense_fp32_says_so(kernels: float, caplog: pytest.LogCaptureFixture) -> None:
    _, found = compared(table(kernels, 1e4))
    assert found is not None
    assert found.int8_pays == (kernels < 1)
    assert ("--values fp32 would be faster here: predicted: " in caplog.text) != found.int8_pays


def test_a_file_without_regions_takes_as_long_as_its_dense_twin() -> None:
    _, found = compared(table(1.0, 1.0), regions="none")
    assert found is not None
    assert found.int8 == found.dense_int8


def test_rates_of_layers_alone_say_nothing_of_whole_models() -> None:
    assert compared(CostTable())[1] is None


def test_what_was_tuned_is_measured_beside_fp32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored, floats = normalize(valid_int8_region()), normalize(valid_region())
    chosen = Chosen(valid_int8_region(), [], Measured(cpu="any", times={WHOLE: (2.0, 4.0)}))
    monkeypatch.setattr(compare_twins, "time_pair", lambda *_: PairTimes(2.1, 2.0, 1.05))
    found = float_twin(chosen, floats, stored, Target(values="int8", tune=True), FEEDS)
    assert found == FloatTwin(2.1, 4.0, 2.0, measured=True)
    said = "2.10 ms; the dense model takes 4.00 ms in int8 and 2.00 ms in fp32"
    assert f"--values fp32 would be faster here: measured: {said}" in caplog.text


def test_a_model_that_cannot_be_profiled_is_exported_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ArtifactError("no space left for a profile")

    monkeypatch.setattr(compare_twins, "dense_run", failing)
    assert compared(table(0.01, 1.0))[1] is None
    assert "no space left" in caplog.text
