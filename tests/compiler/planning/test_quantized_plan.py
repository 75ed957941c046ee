"""The planner between bytes: quads are counted, not weights, and a cut counts against leaving a layer out."""

import numpy as np
import pytest

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.cost_model import layer_cost
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.compiler.regions.match.quad_density import kept_quads, quad_density
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.ops.conv import CONV, MATMUL, QCONV, QMATMUL
from lth_deploy.compiler.regions.ops.conv_transpose import CONV_TRANSPOSE, QCONV_TRANSPOSE
from lth_deploy.config.cost_table import ByteRates, CostTable
from lth_deploy.config.target import Target
from lth_deploy.kernels.program.values import Quantized, Window
from lth_deploy.structures import Block
from tests.compiler.onnx_models import in_blocks
from tests.compiler.regions.quantized_graphs import QuantizedGraph


def test_quads_and_pairs_are_counted() -> None:
    weights = np.zeros((4, 8, 1, 2), np.int8)
    weights[0, 1, 0, 0] = 1
    weights[1, 3, 0, 0] = 1  # the same quad of inputs: one pair
    weights[3, 4, 0, 1] = 1
    assert kept_quads(weights) == (3, 2)
    assert quad_density(weights) == 3 / 16


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (3, 5), (5, 7)])
def test_broken_quads_count_as_whole(outputs: int, inputs: int) -> None:
    weights = np.ones((outputs, inputs), np.int8)
    assert kept_quads(weights) == (outputs * -(-inputs // 4), -(-outputs // 2) * -(-inputs // 4))
    assert quad_density(weights) == 1.0


def cost_of(
    weights: Array,
    table: CostTable,
    kind: Kind = QCONV,
    kernel: tuple[int, int] = (3, 3),
    times: int = 1600,
    batch: int = 1,
    out: Quantized | None = None,
) -> tuple[float, float]:
    op = RegionOp(kind, 0, (), ("x",), ("y",), "w", window=Window(kernel), out=out)

    class Known(StoredWeight):
        def weights(self) -> Array:
            return weights

    cost = layer_cost(op, Known("w", "dense", weights.shape, {}), times, table, batch)
    return cost.sparse, cost.dense


def masked(block: Block, zeros: float) -> Array:
    rng = np.random.default_rng(0)
    return in_blocks(rng.integers(1, 127, (256, 256, 3, 3)).astype(np.int8), block, zeros, rng)


@pytest.mark.parametrize(("block", "even"), [(Block(1, 4), 0.25), (Block(1, 1), 0.68)])
def test_the_break_even_is_where_it_was_measured(block: Block, even: float) -> None:
    table = CostTable(int8=ByteRates(layout_dense=0.01))  # quads or nothing
    for zeros, faster in ((even - 0.1, False), (even + 0.1, True)):
        sparse, dense = cost_of(masked(block, zeros), table)
        assert (sparse < dense) == faster, (zeros, sparse, dense)


def test_a_full_layer_costs_what_the_layout_costs_and_pairs_are_cheaper() -> None:
    full, dense = cost_of(masked(Block(1, 4), 0.0), CostTable())
    assert full == pytest.approx(dense / ByteRates().layout_dense)
    assert cost_of(masked(Block(2, 4), 0.8), CostTable())[0] < 0.85 * cost_of(masked(Block(1, 4), 0.8), CostTable())[0]


def test_small_planes_of_many_regions_leave_lanes_idle() -> None:
    weights = masked(Block(1, 4), 0.8)
    one, dense = cost_of(weights, CostTable(), times=100 * 196)
    many, same = cost_of(weights, CostTable(), times=100 * 196, batch=100)
    assert many == pytest.approx(one * 256 / 196)
    assert same == dense


def test_floats_that_a_region_makes_bytes_of_are_brought_into_the_layout() -> None:
    def sparse_ms(layout_ns: float) -> float:
        g = QuantizedGraph()
        c = g.qconv(g.bytes_of("x"), "a", (64, 64), zeros=0.9, zero=10)
        target = Target(costs=CostTable(layout_ns=layout_ns))
        model = g.model({"x": ["n", 64, "h", "w"]}, [c])
        _, (report,) = emit(normalize(model), target, Facts({"a.weight": 6400}))
        assert report.region is not None
        assert report.sparse_ms is not None
        return report.sparse_ms

    floats = 2 * 64 * 6400  # one plane of 64 channels in, one out
    assert sparse_ms(0.01) - sparse_ms(0) == pytest.approx(floats * 0.01e-6, rel=1e-3)


def test_a_transposed_layer_costs_its_phases_and_floats_outside() -> None:
    table = CostTable()
    rng = np.random.default_rng(0)
    weights = in_blocks(rng.integers(1, 127, (64, 256, 2, 2)).astype(np.int8), Block(1, 4), 0.8, rng)
    stored = np.ascontiguousarray(weights.swapaxes(0, 1))
    cost = cost_of(stored, table, QCONV_TRANSPOSE, (2, 2))
    phases = weights.transpose(2, 3, 0, 1).reshape(256, 256, 1, 1)
    sums, moved = cost_of(phases, table, kernel=(1, 1))[0], 256 * 1600 / 4 * table.layout_ns / 1e6
    dense = weights.size * 1600 / (table.transposed * table.conv.dense) / 1e6
    assert cost == pytest.approx((sums + moved, dense))
    floats = cost_of(stored.astype(np.float32), table, CONV_TRANSPOSE, (2, 2))
    assert cost[0] < floats[0] < floats[1] == cost[1]


def test_dense_layers_stay_inside_a_region_that_pays_and_alone_outside() -> None:
    def layers(zeros: float) -> dict[str, str | None]:
        g = QuantizedGraph()
        a = g.qconv(g.bytes_of("x"), "a", (128, 128), zeros=0.9, zero=10)
        b = g.qconv(a, "b", (128, 128), zeros=zeros, zero=10)
        c = g.qconv(b, "c", (128, 128), zeros=zeros, zero=10)
        times = dict.fromkeys(("a.weight", "b.weight", "c.weight"), 6400)
        _, reports = emit(normalize(g.model({"x": ["n", 128, "h", "w"]}, [c])), Target(costs=CostTable()), Facts(times))
        return {report.name: report.region for report in reports}

    assert layers(0.0) == dict.fromkeys(("a.weight", "b.weight", "c.weight"), "Region0")

    g = QuantizedGraph()
    c = g.qconv(g.bytes_of("x"), "a", (64, 64), zeros=0.0, zero=10)
    _, (report,) = emit(
        normalize(g.model({"x": ["n", 64, "h", "w"]}, [c])), Target(costs=CostTable()), Facts({"a.weight": 6400})
    )
    assert report.region is None
    assert "predicted for its region" in str(report.dense_because)


@pytest.mark.parametrize(("kind", "dtype"), [(MATMUL, np.float32), (QMATMUL, np.int8)])
def test_a_product_costs_the_same_in_either_order_of_its_weight(kind: Kind, dtype: type) -> None:
    rng = np.random.default_rng(0)
    weights = in_blocks(rng.integers(1, 127, (256, 64)).astype(np.int8), Block(1, 4), 0.8, rng).astype(dtype)

    def cost(stored: Array, product: Kind) -> tuple[float, float]:
        class Known(StoredWeight):
            def weights(self) -> Array:
                return stored

        op = RegionOp(product, 0, (), ("x",), ("y",), "w", rows=True)
        found = layer_cost(op, Known("w", "dense", stored.shape, {}), 1600, CostTable())
        return found.sparse, found.dense

    turned = QCONV if kind is QMATMUL else CONV
    assert cost(np.ascontiguousarray(weights.T), kind) == pytest.approx(cost(weights, turned))


@pytest.mark.parametrize(("l2", "inside"), [(2 << 20, True), (None, False)])
def test_full_layers_are_taken_where_matrix_tiles_are_faster(l2: int | None, inside: bool) -> None:
    """By the rates of a table: a product of tiles takes 5 ns, which the stock runtime needs for 1,000 weights."""
    kernels = {"int8 tiles.products": 5.0, "int8 conv.full macs": 0.006}
    table = CostTable(kernels=kernels, stock={"int8 conv.macs": 0.005}, tiles_l2=l2)
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (128, 128), zeros=0.0, zero=10)
    b = g.qconv(a, "b", (128, 128), zeros=0.0, zero=10)
    times = dict.fromkeys(("a.weight", "b.weight"), 6400)
    _, reports = emit(normalize(g.model({"x": ["n", 128, "h", "w"]}, [b])), Target(costs=table), Facts(times))
    assert [report.region is not None for report in reports] == [inside, inside]


def test_layers_whose_results_are_floats_are_predicted_by_tiles_with_fewer_weights() -> None:
    """As the library computes them: tiles write floats as pixels. A product of tiles takes 5 ns, as does a weight."""
    table = CostTable(
        kernels={"int8 tiles.products": 5.0, "int8 conv.macs": 5.0}, stock={"int8 conv.macs": 0.005}, tiles_l2=2 << 20
    )
    few = masked(Block(1, 4), 0.9)
    assert cost_of(few, table)[0] < 1.0 < cost_of(few, table, out=Quantized(0.02, 120))[0]
