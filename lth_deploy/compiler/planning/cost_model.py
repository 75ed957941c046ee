"""What layers cost: dense in a stock runtime, sparse in the kernels, from a table of rates.

The rates of a machine class stand in the target; `export --tune` measures instead. A sparse layer's rate rises with
the non-zero weights between two channels, over which loads, stores and packing are spread.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.planning.amounts import milliseconds
from lth_deploy.compiler.planning.layer_amounts import Tensor, layer_amounts, runs_in_pairs, transposed_amounts
from lth_deploy.compiler.regions.match.quad_density import kept_quads
from lth_deploy.compiler.regions.match.region_op import QUANTIZE, RegionOp, is_depthwise, outputs_first
from lth_deploy.compiler.regions.partition.cut import Cut
from lth_deploy.config.cost_table import ByteRates, CostTable, Rates
from lth_deploy.kernels.program.limits import QUAD

LayerClass = Literal["stem", "conv", "pointwise", "rows", "grouped", "depthwise"]

_STEM_CHANNELS = 4


@dataclass(frozen=True)
class Cost:
    """Predicted milliseconds of one inference, on one thread."""

    sparse: float
    dense: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.sparse + other.sparse, self.dense + other.dense)


def layer_class(op: RegionOp, shape: tuple[int, ...]) -> LayerClass:
    """The class that a layer's rates are kept under. shape: of its weight, as it is stored."""
    if op.rows:
        return "rows"
    if op.groups > 1:
        return "depthwise" if is_depthwise(op, shape) else "grouped"
    if not op.kind.transposed and shape[1] <= _STEM_CHANNELS:
        return "stem"
    return "pointwise" if op.window.kernel == (1, 1) else "conv"


def _interleaves(op: RegionOp) -> bool:
    """Whether a layer is a transposed convolution; the weight of a product of rows is [inputs, outputs] as well."""
    return op.kind.transposed and not op.rows


def layer_cost(op: RegionOp, stored: StoredWeight, times: int, table: CostTable, batch: int = 1) -> Cost:
    """Cost of a layer whose weights are multiplied `times` times each; shared ones over all their uses.

    batch: how many planes that is.
    """
    weights = outputs_first(op, stored.weights())
    if table.predicts_whole_models:
        return _fitted_cost(op, weights, times, batch, table)
    kind = layer_class(op, stored.shape)
    rates: Rates = getattr(table, kind)
    lanes = 1.0 if op.rows else _idle_lanes(times / max(batch, 1))
    dense_rate = rates.dense * (table.transposed if _interleaves(op) else 1.0)
    if op.kind.quantized:
        if _interleaves(op):
            cost = _transposed_cost(weights, times, dense_rate, table)
        else:
            cost = _bytes_cost(kind, weights, times, table.int8)
        # Of single images the rates know, as they were fitted to whole backbones.
        return Cost(cost.sparse * lanes, cost.dense) if batch > 1 else cost
    depthwise = kind == "depthwise"
    nonzeros = weights.size if depthwise else int(np.count_nonzero(weights))
    outputs, inputs = weights.shape[:2]
    kept = max(nonzeros, 1) / (outputs * inputs)
    traffic = rates.traffic * (table.paired_traffic if not depthwise and runs_in_pairs(weights) else 1.0)
    longer = lanes * (1.0 + traffic / kept + rates.packing / (kept * outputs))
    return Cost(nonzeros * times * longer / rates.sparse / 1e6, weights.size * times / dense_rate / 1e6)


def _fitted_cost(op: RegionOp, weights: Array, times: int, batch: int, table: CostTable) -> Cost:
    """From the amounts of the layer; its planes are taken for square ones."""
    images = max(batch, 1)
    side = 1 if op.rows else max(round(math.sqrt(times / images)), 1)
    outputs, inputs = weights.shape[0], weights.shape[1] * op.groups
    stride = 1 if op.kind.transposed else op.window.stride[0]
    quantized = op.kind.quantized
    x = Tensor(times if op.rows else images, inputs, side * stride, side * stride, quantized, op.rows)
    made = Tensor(x.batch, outputs, side, side, quantized, op.rows)
    if _interleaves(op):
        kernels = transposed_amounts(weights.swapaxes(0, 1), x, made, table.tiles_l2)
    else:
        to_pixels = quantized and op.out is None  # floats that nothing in its region reads, as is usual of last layers
        kernels = layer_amounts(weights, op.groups, op.window, x, made, table.tiles_l2, to_pixels=to_pixels)
    kind = "transposed" if _interleaves(op) else layer_class(op, weights.shape)
    name = f"int8 {kind}" if quantized else kind
    values = times * (inputs * stride**2 + outputs)
    stock = {f"{name}.macs": float(weights.size * times), f"{name}.values": float(values)}
    return Cost(milliseconds(kernels, table.kernels), milliseconds(stock, table.stock))


def _idle_lanes(pixels: float) -> float:
    """How much longer a plane takes that does not fill the lanes: a square one, cut into 4 x 4 equal parts."""
    return (4 * math.ceil(math.sqrt(pixels) / 4)) ** 2 / pixels if pixels else 1.0


def _bytes_cost(kind: LayerClass, weights: Array, times: int, table: ByteRates) -> Cost:
    """The fastest of the ways to compute a layer between bytes: by quads, by pairs of quads, or dense in the layout."""
    rates: Rates = getattr(table, kind)
    outputs, inputs = weights.shape[:2]
    quads, pairs = kept_quads(weights)

    def ms(computed: int, rate: float) -> float:
        kept = max(computed, 4) / (outputs * inputs)
        longer = 1.0 + rates.traffic / kept + rates.packing / (kept * outputs)
        return float(computed * times * longer / rate / 1e6)

    dense = weights.size * times / rates.dense / 1e6
    if kind == "depthwise":
        return Cost(ms(weights.size, rates.sparse), dense)
    layout = weights.size * times / rates.sparse / 1e6 if kind == "stem" else dense / table.layout_dense
    return Cost(min(ms(4 * quads, rates.sparse), ms(8 * pairs, rates.sparse * table.pairs), layout), dense)


def _transposed_cost(weights: Array, times: int, dense_rate: float, table: CostTable) -> Cost:
    """Of bytes: a 1x1 layer whose outputs are interleaved, four channels a cell. A stock runtime computes floats."""
    phases = weights.transpose(2, 3, 0, 1).reshape(-1, weights.shape[1], 1, 1)
    sums = _bytes_cost("pointwise", phases, times, table.int8).sparse
    interleaving = len(phases) * times / QUAD * table.layout_ns / 1e6
    return Cost(sums + interleaving, weights.size * times / dense_rate / 1e6)


def conversion_ms(cut: Cut, stored: Mapping[str, StoredWeight], times: Mapping[str, int], table: CostTable) -> float:
    """Milliseconds that a region spends on bringing activations into its layout and back."""
    floats = 0
    counted: set[tuple[str, str]] = set()
    maker = {name: op for op in cut.ops for name in op.outputs}
    given = set(cut.inputs)
    quantized = {op.outputs[0] for op in cut.ops if op.kind is QUANTIZE and given.issuperset(op.inputs)}
    for op in cut.ops:
        if op.weight is None or ("in", op.weight) in counted:
            continue
        # Images are read as bytes, of which the stem's rate knows.
        made = set() if layer_class(op, stored[op.weight].shape) == "stem" else quantized
        if set(op.inputs) & (given | made):
            counted.add(("in", op.weight))
            floats += _crossing(op, stored[op.weight].shape)[0] * times.get(op.weight, 0)
    for name in cut.outputs:
        layer = _layer_behind(name, maker)
        if layer is not None and ("out", str(layer.weight)) not in counted:
            counted.add(("out", str(layer.weight)))
            weight = str(layer.weight)
            floats += _crossing(layer, stored[weight].shape)[1] * times.get(weight, 0)
    return floats * table.layout_ns / 1e6


def _crossing(op: RegionOp, shape: tuple[int, ...]) -> tuple[int, int]:
    """Values that a layer reads, and that it makes, for each time that its weights are multiplied."""
    if op.kind.transposed:
        return shape[0], math.prod(shape[1:])
    return shape[1] * op.groups * math.prod(op.window.stride), shape[0]


def _layer_behind(name: str, maker: Mapping[str, RegionOp]) -> RegionOp | None:
    """The layer whose output has as many elements as a tensor, roughly: the one that it was made of."""
    while name in maker:
        op = maker[name]
        if op.kind.has_weight:
            return op
        name = op.inputs[0]
    return None
