"""What is no layer takes its share of a profile, and is predicted for both sides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from lth_deploy.compiler.artifact.inline_regions import has_regions
from lth_deploy.compiler.artifact.roi_align import has_roi_align
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.ort_profile import OperatorTime, operator_times, stock_times
from lth_deploy.compiler.planning.mac_count import uses
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.compiler.planning.unpredicted_time import Shares, measured_shares, outside_ms, shares_of, unpredicted_ms
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from tests.roi_align_models import pooling_detector

INPUTS: dict[str, Any] = {
    "x": np.random.default_rng(0).standard_normal((1, 64, 32, 32)).astype(np.float32),
    "asked": np.array(True),
}


def event(name: str, op_type: str, begins: int, lasts: int) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": begins, "dur": lasts, "args": {"op_name": op_type}}


def test_the_least_of_all_runs_counts_and_a_body_only_within_its_loop() -> None:
    events: list[Mapping[str, Any]] = [
        {"cat": "Session", "name": "model_run", "ts": 0, "dur": 200},
        event("inner", "Neg", 62, 5),
        event("inner", "Neg", 70, 25),
        event("conv", "Conv", 0, 50),
        event("loop", "Loop", 60, 40),
        event("conv", "Conv", 100, 30),
        event("loop", "Loop", 130, 44),
        event("inner", "Neg", 131, 43),
    ]
    assert operator_times(events) == [OperatorTime("conv", "Conv", 30), OperatorTime("loop", "Loop", 40)]


def test_a_profile_holds_the_operators_of_the_main_graph() -> None:
    times = stock_times(pooling_detector(), INPUTS)
    assert all(one.us >= 0 for one in times)
    assert {"RoiAlign", "If", "Softmax"} <= {one.op_type for one in times}
    assert "Neg" not in {one.op_type for one in times}


def test_a_model_that_does_not_run_cannot_be_profiled() -> None:
    with pytest.raises(ArtifactError, match="could not be profiled"):
        stock_times(pooling_detector(), {"x": np.zeros((1, 3, 4, 4), np.float32)})


def emitted() -> tuple[ModelProto, set[str]]:
    model = pooling_detector()
    used = uses(normalize(model), INPUTS)
    made, layers = emit(normalize(model), Target(values="fp32"), Facts(used.positions, batches=used.batches))
    assert has_regions(made)
    assert has_roi_align(made)
    return made, {layer.name for layer in layers if layer.dense_ms is not None}


def named(plain: ModelProto, op_type: str, place: int = 0) -> str:
    """The name under which the profile knows a node."""
    found = [number for number, node in enumerate(plain.graph.node) if node.op_type == op_type]
    return f"lth_deploy.node.{found[place]}"


def test_operators_are_sorted_by_what_computes_them() -> None:
    made, predicted = emitted()
    plain = unpack_model(made)
    times = [
        OperatorTime(f"fused {named(plain, 'Conv')}", "FusedConv", 100),
        OperatorTime("plane_nchwc", "Conv", 200),
        OperatorTime(f"{named(plain, 'Relu')}_token_12", "Relu", 4),
        OperatorTime("ReorderInput_token_3", "ReorderInput", 10),
        OperatorTime(named(plain, "RoiAlign"), "RoiAlign", 50),
        OperatorTime(named(plain, "If"), "If", 7),
        OperatorTime(named(plain, "Softmax"), "Softmax", 3),
        OperatorTime("made by a fusion", "Gelu", 1),
    ]
    assert shares_of(times, plain, made, predicted) == Shares(layers=314, roi_align=50, others=11)


def test_a_layer_that_nobody_predicts_counts_with_the_rest() -> None:
    dense = pooling_detector()
    times = [OperatorTime("lth_deploy.node.0", "Conv", 100), OperatorTime("b_nchwc", "Conv", 20)]
    assert shares_of(times, dense, dense, {"w0"}) == Shares(layers=120, roi_align=0, others=0)
    assert shares_of(times, dense, dense, {"w1"}) == Shares(layers=0, roi_align=0, others=120)


def test_the_rest_follows_the_layers_of_the_target() -> None:
    shares = Shares(layers=500.0, roi_align=300.0, others=200.0)
    assert unpredicted_ms(shares, 50.0, roi_align=6.0) == pytest.approx((5.0 + 20.0, 50.0))
    twice = Shares(layers=1000.0, roi_align=600.0, others=400.0)
    assert unpredicted_ms(twice, 50.0, roi_align=6.0) == unpredicted_ms(shares, 50.0, roi_align=6.0)


def test_a_small_rest_is_none_and_without_layers_nothing_is_known() -> None:
    assert unpredicted_ms(Shares(980.0, 10.0, 10.0), 50.0, roi_align=8.0) == (0.0, 0.0)
    assert unpredicted_ms(Shares(0.0, 10.0, 10.0), 50.0, roi_align=8.0) is None


def test_a_measured_profile_has_all_three() -> None:
    made, predicted = emitted()
    assert predicted == {"w0", "w1"}
    shares = measured_shares(made, predicted, INPUTS)
    assert shares.layers > 0
    assert shares.roi_align > 0
    assert shares.others > 0


def test_the_time_of_what_is_no_layer_is_given_by_operator() -> None:
    shares = Shares(
        layers=100.0, roi_align=0.0, others=50.0, by_operator={"Softmax": 10.0, "Transpose": 39.99, "Mul": 0.01}
    )
    assert outside_ms(shares, (20.0, 25.0)) == pytest.approx({"Transpose": 19.995, "Softmax": 5.0})
    assert outside_ms(shares, (0.0, 0.0)) == {}
    assert outside_ms(shares, None) == {}
