"""Layers between bytes: a node with the DequantizeLinear before it and the QuantizeLinear behind it is one op."""

from dataclasses import replace

import numpy as np
from onnx import GraphProto, NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo, attribute
from lth_deploy.compiler.regions.match import activations
from lth_deploy.compiler.regions.match.no_match import NoMatch, need
from lth_deploy.compiler.regions.match.qdq import DEQUANTIZE, QUANTIZE, READERS, quantized_of
from lth_deploy.compiler.regions.match.region_op import OF_BYTES, Kind, RegionOp, Uses, Weights
from lth_deploy.formats import Array
from lth_deploy.kernels.program.check_constants import check_accumulators, check_scales
from lth_deploy.kernels.program.limits import QUAD, RuleError
from lth_deploy.kernels.program.values import NONE, Quantized

_SAME_SCALE = 1e-5
"""Most that a bias's scale may differ from the product of input and weight scale, which a runtime takes it for."""

_KINDS: dict[str, Kind] = {
    "qconv": "qconv",
    "qconvtranspose": "qconvtranspose",
    "add": "qadd",
    "act": "requantize",
}
MOVERS = ("maxpool", "resize", "concat", "slice")
"""Kinds that keep scale and zero point."""


def quantized_layer(place: int, node: NodeProto, producers: activations.Producers, weights: Weights) -> RegionOp:
    """A layer whose weight comes from a DequantizeLinear: per-channel symmetric int8, bias int32.

    Raises:
        NoMatch: it is quantized in a way that the kernels do not compute.
    """
    made = producers[node.input[1]][1]
    weight = made.input[0]
    need(weight in weights.stored, f"'{weight}' is computed, not stored")
    need(weight not in weights.overridable, f"a caller may replace '{weight}': it is an input of the graph")
    stored = weights.stored[weight]
    need(stored.int8, f"its weights are {stored.type_name}; kernels take int8")
    values, axis = stored.weights(), 0
    if node.op_type == "ConvTranspose":
        values, axis = values.swapaxes(0, 1), 1
    scales = _scales(made, values, axis, weights)
    _zero_points(node, made, weights)
    nodes = [made]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if bias is not None:
        found = producers.get(bias)
        need(
            found is not None and found[1].op_type == DEQUANTIZE, "its bias is not quantized, a runtime adds no floats"
        )
        assert found is not None
        _bias(node, found[1], made, producers, weights)
        nodes.append(found[1])
        bias = found[1].input[0]
    try:
        check_accumulators(values, None if bias is None else weights.stored[bias].weights())
    except RuleError as error:
        raise NoMatch(f"its weights: {error}") from error
    kind: Kind = "qconvtranspose" if node.op_type == "ConvTranspose" else "qconv"
    return RegionOp(kind, place, (*nodes, node), (node.input[0],), (node.output[0],), weight, bias, scales=scales)


def _scales(made: NodeProto, values: Array, axis: int, weights: Weights) -> str:
    """Name of the scales. values: [outputs, inputs, ...]. axis: that of the outputs as they are stored."""
    name = str(made.input[1])
    need(name in weights.stored and name not in weights.overridable, "the scales of its weights are not constant")
    scales = weights.stored[name].weights()
    need(scales.size > 1 or len(values) == 1, "its weights have one scale for all outputs; quantize them per channel")
    per_output = scales.shape == (len(values),) and attribute(made, "axis", 1) == axis
    need(per_output and scales.dtype == np.float32, "the scales of its weights are not those of its output channels")
    try:
        check_scales(scales)
    except RuleError as error:
        raise NoMatch(f"its weights: {error}") from error
    return name


def _zero_points(node: NodeProto, made: NodeProto, weights: Weights) -> None:
    name = made.input[2] if len(made.input) > 2 else ""
    stored = weights.stored.get(name)
    if name and not (stored is not None and name not in weights.overridable and not stored.weights().any()):
        raise NoMatch("its weights have a zero point other than zero: quantize them symmetrically")
    need(bool(name) or node.op_type != "Gemm", "its weights have no zero point: there a runtime multiplies floats")


def _bias(
    node: NodeProto, made: NodeProto, weight: NodeProto, producers: activations.Producers, weights: Weights
) -> None:
    name = made.input[0]
    need(name in weights.stored and name not in weights.overridable, "its bias is not constant")
    need(weights.stored[name].value_type == 6, "its bias is not int32")
    need(len(made.input) < 3 or not made.input[2], "its bias has a zero point")
    before = producers.get(node.input[0])
    need(before is not None and before[1].op_type == DEQUANTIZE, "its input is not quantized")
    assert before is not None
    given = [weights.stored.get(one.input[1]) for one in (made, before[1], weight)]
    need(all(one is not None for one in given), "a scale of it is not constant")
    mine, x, w = (one.weights() for one in given if one is not None)
    product = x.astype(np.float64) * w.astype(np.float64)
    close = mine.size in (1, product.size) and bool(np.allclose(mine, product, rtol=_SAME_SCALE, atol=0))
    need(close, "its bias is not in units of the scales of its input and weights")


class Bytewise:
    """Finds what surrounds a node; state: what there is to look up."""

    def __init__(self, graph: GraphProto, shapes: TensorInfo, weights: Weights, uses: Uses) -> None:
        self.shapes = shapes
        self.weights = weights
        self.uses = uses
        self.producers = {output: (i, node) for i, node in enumerate(graph.node) for output in node.output}
        self.readers: dict[str, list[tuple[int, NodeProto]]] = {}
        for place, node in enumerate(graph.node):
            for name in node.input:
                self.readers.setdefault(name, []).append((place, node))

    def conversion(self, place: int, node: NodeProto) -> RegionOp | None:
        """A QuantizeLinear or DequantizeLinear of activations as an operator of its own.

        Raises:
            NoMatch: see `quantized_of`.
        """
        source = node.input[0]
        if source in self.weights.stored:
            return None
        shape = self.shapes.of.get(source)
        need(shape is not None and len(shape) in (2, 4), "the rank of its input is not known")
        assert shape is not None
        need(shape[1].known is not None, "its number of channels is not known")
        quantized = quantized_of(node, self.shapes)
        rows = len(shape) == 2
        if node.op_type == QUANTIZE:
            return RegionOp("quantize", place, (node,), (source,), (node.output[0],), rows=rows, out=quantized)
        need(self._quantized(source) == quantized, "its input is not made of bytes by a QuantizeLinear with its scale")
        return RegionOp("dequantize", place, (node,), (source,), (node.output[0],), rows=rows)

    def group(self, op: RegionOp) -> RegionOp | None:
        """The op with the conversions around it; None for one that works on floats.

        Raises:
            NoMatch: weights of 8 bits without an input of bytes.
        """
        if op.kind not in (*_KINDS, *MOVERS) or len(op.outputs) != 1 or op.linear is not None:
            return None
        before = [self._before(name) for name in op.inputs]
        given = [one for one in before if one is not None]
        if len(given) != len(before):
            need(op.kind not in OF_BYTES, "its input is not quantized, or shared with another kind of layer")
            return None
        sources = tuple(one.inputs[0] for one in given)
        nodes = (*(one.nodes[0] for one in given), *op.nodes)
        closed = self._behind(op)
        if closed is None:
            return replace(op, nodes=nodes, inputs=sources, borders=tuple(given)) if op.kind in OF_BYTES else None
        act, end = closed
        assert end.out is not None
        if op.kind in MOVERS and not self._movable(op):
            return None
        kind = _KINDS.get(op.kind, op.kind)
        return replace(
            op,
            kind=kind,
            place=end.place,
            nodes=(*nodes, *act.nodes, *end.nodes) if act else (*nodes, *end.nodes),
            inputs=sources,
            outputs=end.outputs,
            act=act.act if act else op.act,
            out=end.out,
            borders=(*given, end),
        )

    def _before(self, name: str) -> RegionOp | None:
        """The DequantizeLinear that makes a tensor for one reader alone."""
        made = self.producers.get(name)
        if made is None or made[1].op_type != DEQUANTIZE or not self.uses.only(name):
            return None
        try:
            return self.conversion(*made)
        except NoMatch:
            return None

    def _behind(self, op: RegionOp) -> tuple[activations.Activation | None, RegionOp] | None:
        """The QuantizeLinear that alone reads what an operator makes, and an activation between."""
        act, name = None, op.outputs[0]
        if op.act == NONE and op.kind in (*OF_BYTES, "add") and self.uses.only(name):
            ((_, reader),) = self.readers[name]
            found = None
            if reader.op_type in READERS:
                found = activations.activation(reader, self.shapes, self.producers, self.uses)
            if found is not None and found.nodes == (reader,):
                act, name = found, reader.output[0]
        if not self.uses.only(name):
            return None
        ((place, reader),) = self.readers[name]
        if reader.op_type != QUANTIZE:
            return None
        try:
            end = self.conversion(place, reader)
        except NoMatch:
            return None
        return None if end is None else (act, end)

    def _movable(self, op: RegionOp) -> bool:
        """Whether an operator that only moves bytes keeps quads of channels together."""
        if op.kind == "slice":
            return all(start % QUAD == 0 for start, _ in op.pieces)
        if op.kind == "concat":
            return all(self._channels(name) % QUAD == 0 for name in op.inputs[:-1])
        return True

    def _channels(self, name: str) -> int:
        return int(self.shapes.of[name][1].known or 1)

    def _quantized(self, name: str) -> Quantized | None:
        made = self.producers.get(name)
        return None if made is None or made[1].op_type != QUANTIZE else quantized_of(made[1], self.shapes)
