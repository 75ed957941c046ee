"""The planner: rates and positions decide what runs sparse, and measured times overrule them."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.cost_model import runs_in_pairs
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.config.cost_table import CostTable, Rates
from lth_deploy.config.target import Target
from tests.compiler.onnx_models import sparse


def _chain(kernel: int, zeros: float, layers: int = 3) -> ModelProto:
    rng = np.random.default_rng(0)
    shape = (64, 64, kernel, kernel)
    names = ["x", *(f"y{number}" for number in range(layers))]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], f"conv{i}", pads=[kernel // 2] * 4)
        for i in range(layers)
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, "h", "w"])],
        [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [1, 64, "oh", "ow"])],
        [numpy_helper.from_array(sparse(rng, shape, zeros), f"w{i}") for i in range(layers)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _positions(layers: int = 3) -> dict[str, int]:
    return {f"w{number}": 1600 for number in range(layers)}


def test_costs_count_nonzeros_for_sparse_and_all_weights_for_dense() -> None:
    rates = Rates(dense=100, sparse=50)
    target = Target(costs=CostTable(conv=rates, layout_ns=0), values="fp32")
    _, layers = emit(normalize(_chain(3, 0.9)), target, Facts(_positions()))
    for layer in layers:
        assert layer.region == "Region0"
        assert layer.dense_ms == pytest.approx(layer.elements * 1600 / 100e6)
        assert layer.sparse_ms == pytest.approx((layer.elements - layer.zeros) * 1600 / 50e6)


def test_changing_the_layout_is_part_of_what_the_layers_of_a_region_take() -> None:
    _, free = emit(normalize(_chain(3, 0.9)), Target(costs=CostTable(layout_ns=0)), Facts(_positions()))
    _, layers = emit(normalize(_chain(3, 0.9)), Target(costs=CostTable(layout_ns=2)), Facts(_positions()))
    floats = 2 * 64 * 1600  # one plane of 64 channels in, one out
    more = sum(layer.sparse_ms - bare.sparse_ms for layer, bare in zip(layers, free, strict=True))  # type: ignore[operator]
    assert more == pytest.approx(floats * 2e-6)


@pytest.mark.parametrize(("pixels", "longer"), [(1600, 1.0), (100, 144 / 100), (169, 256 / 169)])
def test_planes_that_do_not_fill_the_lanes_take_longer(pixels: int, longer: float) -> None:
    table = CostTable(conv=Rates(dense=100, sparse=50), layout_ns=0)
    _, layers = emit(normalize(_chain(3, 0.9)), Target(costs=table), Facts(dict.fromkeys(_positions(), pixels)))
    for layer in layers:
        assert layer.sparse_ms == pytest.approx((layer.elements - layer.zeros) * pixels * longer / 50e6)


def test_lanes_are_filled_plane_by_plane() -> None:
    table = CostTable(conv=Rates(dense=100, sparse=50), layout_ns=0)
    planes = dict.fromkeys(_positions(), 100 * 196)
    facts = Facts(planes, batches=dict.fromkeys(planes, 100))
    _, layers = emit(normalize(_chain(3, 0.9)), Target(costs=table), facts)
    for layer in layers:
        assert layer.sparse_ms == pytest.approx((layer.elements - layer.zeros) * 100 * 256 / 50e6)


@pytest.mark.parametrize(("shared", "expected"), [(True, True), (False, False)])
def test_rows_that_share_their_zeros_run_in_pairs(shared: bool, expected: bool) -> None:
    rng = np.random.default_rng(0)
    kept = rng.random((8, 16, 3, 3)) < 0.2
    if shared:
        kept[1::2] = kept[0::2]
    assert runs_in_pairs(kept.astype(np.float32)) == expected


def test_a_layer_that_is_predicted_to_lose_says_so() -> None:
    slow = Target(costs=CostTable(conv=Rates(dense=100, sparse=5)))
    _, layers = emit(normalize(_chain(3, 0.9)), slow, Facts(_positions()))
    assert {layer.region for layer in layers} == {None}
    assert all("ms sparse" in str(layer.dense_because) for layer in layers)


def test_changing_the_layout_counts_against_a_thin_region() -> None:
    target = Target(costs=CostTable(layout_ns=5.0, pointwise=Rates(dense=100, sparse=60)))
    facts = Facts(_positions())
    _, alone = emit(normalize(_chain(1, 0.85, layers=1)), target, facts)
    assert "change the layout" in str(alone[0].dense_because)
    _, long = emit(normalize(_chain(3, 0.9, layers=3)), target, facts)
    assert {layer.region for layer in long} == {"Region0"}


def test_without_positions_zeros_decide_and_nothing_is_predicted() -> None:
    _, layers = emit(normalize(_chain(3, 0.9)), Target())
    assert {(layer.region, layer.sparse_ms) for layer in layers} == {("Region0", None)}
    _, layers = emit(normalize(_chain(3, 0.9)), Target(region_zeros=0.95))
    assert all("below 95%" in str(layer.dense_because) for layer in layers)


def test_measured_times_overrule() -> None:
    slower = dict.fromkeys(_positions(), "measured to be slower")
    _, layers = emit(normalize(_chain(3, 0.9)), Target(), Facts(_positions(), slower))
    assert {(layer.region, layer.dense_because) for layer in layers} == {(None, "measured to be slower")}
