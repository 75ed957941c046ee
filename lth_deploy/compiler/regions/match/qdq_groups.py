"""Groups between quantized tensors: a node with the DequantizeLinear before it and the QuantizeLinear behind it."""

from collections.abc import Sequence
from dataclasses import replace

from onnx import NodeProto

from lth_deploy.compiler.regions.analysis.tensor_info import channel_axis
from lth_deploy.compiler.regions.match.activations import activation
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import NoMatch, require
from lth_deploy.compiler.regions.match.products import ActivationNodes, in_order
from lth_deploy.compiler.regions.match.qdq import quantized_of
from lth_deploy.compiler.regions.match.region_op import (
    DEQUANTIZE,
    DEQUANTIZE_LINEAR,
    QUANTIZE,
    QUANTIZE_LINEAR,
    Kind,
    RegionOp,
)
from lth_deploy.kernels.program.values import NONE, Quantized


def conversion(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """A QuantizeLinear or DequantizeLinear of activations as an operator of its own; None for one of a constant.

    Raises:
        NoMatch: see `quantized_of`.
    """
    source = node.input[0]
    if source in context.weights.stored:
        return None
    shape = context.info.shapes.get(source)
    shape = require(shape if shape and len(shape) in (2, 3, 4) else None, "the rank of its input is not known")
    require(shape[channel_axis(shape)].known is not None, "its number of channels is not known")
    quantized = quantized_of(node, context.info)
    rows = len(shape) < 4
    if node.op_type == QUANTIZE_LINEAR:
        return RegionOp(QUANTIZE, place, (node,), (source,), (node.output[0],), rows=rows, out=quantized)
    same_scale = _made_with(context, source) == quantized
    require(same_scale, "its input is not made by a QuantizeLinear with its scale")
    return RegionOp(DEQUANTIZE, place, (node,), (source,), (node.output[0],), rows=rows)


def _made_with(context: MatchContext, name: str) -> Quantized | None:
    """Scale and zero point of the QuantizeLinear that makes a tensor."""
    made = context.producer(name)
    return None if made is None or made.op_type != QUANTIZE_LINEAR else quantized_of(made, context.info)


def group(context: MatchContext, op: RegionOp) -> RegionOp | None:
    """The operator with the conversions around it; None for one that works on floats.

    Raises:
        NoMatch: a layer has int8 weights, and its input is not quantized.
    """
    kind = op.kind
    if kind is QUANTIZE:
        return _requantized(context, op)
    if kind.activated_form is not None:
        return _of_activation(context, op, kind.activated_form)
    groups = kind.quantized or kind.keeps_grid or kind.quantized_form is not None
    if not groups or len(op.outputs) != 1 or op.linear is not None:
        return None
    before = [_conversion_before(context, op, name) for name in op.inputs]
    given = [found for found in before if found is not None]
    if len(given) != len(before):
        require(not kind.quantized, "its input is not quantized, or shared with another kind of layer")
        return _residual(context, op, before)
    sources = tuple(found.inputs[0] for found in given)
    nodes = (*(found.nodes[0] for found in given), *op.nodes)
    closed = _conversion_behind(context, op)
    if closed is None:
        return replace(op, nodes=nodes, inputs=sources, conversions=tuple(given)) if kind.quantized else None
    act, end = closed
    if act is not None and (kind.quantized_form or kind).of_argument:
        return None
    return replace(
        op,
        kind=kind.quantized_form or kind,
        place=end.place,
        nodes=(*nodes, *act.nodes, *end.nodes) if act else (*nodes, *end.nodes),
        inputs=sources,
        outputs=end.outputs,
        act=act.act if act else op.act,
        out=end.out,
        conversions=(*given, end),
    )


def _residual(context: MatchContext, op: RegionOp, before: Sequence[RegionOp | None]) -> RegionOp | None:
    """A sum of a quantized tensor and of the activation of another one, with all conversions."""
    plain = next((found for found in before if found is not None), None)
    if op.kind.residual_form is None or plain is None:
        return None
    (name,) = (name for name, found in zip(op.inputs, before, strict=True) if found is None)
    act = _activation_of(context, context.producer(name))
    start = None if act is None else _conversion_before(context, replace(op, nodes=act.nodes), act.source)
    closed = _conversion_behind(context, op)
    if act is None or start is None or closed is None or closed[0] is not None or not context.uses.only(name):
        return None
    end = closed[1]
    nodes = in_order(context, (*plain.nodes, *start.nodes, *act.nodes, *op.nodes, *end.nodes))
    return replace(
        op,
        kind=op.kind.residual_form,
        place=end.place,
        nodes=nodes,
        inputs=(plain.inputs[0], start.inputs[0]),
        outputs=end.outputs,
        act=act.act,
        out=end.out,
        conversions=(plain, start, end),
    )


def _of_activation(context: MatchContext, op: RegionOp, form: Kind) -> RegionOp | None:
    """An operator of a quantized tensor, or of its activation, and of floats, with the conversions."""
    name = op.inputs[0]
    act, start = None, _conversion_before(context, op, name)
    if start is None:
        act = _activation_of(context, context.producer(name))
        if act is not None and context.read_only_by(name, op.nodes):
            start = _conversion_before(context, replace(op, nodes=act.nodes), act.source)
    closed = _conversion_behind(context, op)
    if start is None or closed is None or closed[0] is not None:
        return None
    end = closed[1]
    return replace(
        op,
        kind=form,
        place=end.place,
        nodes=in_order(context, (*start.nodes, *(act.nodes if act else ()), *op.nodes, *end.nodes)),
        inputs=(start.inputs[0], *op.inputs[1:]),
        outputs=end.outputs,
        act=act.act if act else NONE,
        out=end.out,
        conversions=(start, end),
    )


def _activation_of(context: MatchContext, node: NodeProto | None) -> ActivationNodes | None:
    """The activation that ends in a node."""
    try:
        return None if node is None else activation(context, node)
    except NoMatch:
        return None


def _requantized(context: MatchContext, op: RegionOp) -> RegionOp | None:
    """A QuantizeLinear with the DequantizeLinear before it: another scale and zero point for the same values."""
    before = _conversion_before(context, op, op.inputs[0])
    if before is None:
        return None
    kind = op.kind.quantized_form or op.kind
    nodes, conversions = (*before.nodes, *op.nodes), (before, op)
    return replace(op, kind=kind, nodes=nodes, inputs=before.inputs, conversions=conversions)


def _conversion_before(context: MatchContext, op: RegionOp, name: str) -> RegionOp | None:
    """The DequantizeLinear that makes a tensor for the nodes of one operator alone."""
    made = context.producers.get(name)
    if made is None or made[1].op_type != DEQUANTIZE_LINEAR or not context.read_only_by(name, op.nodes):
        return None
    try:
        return conversion(context, *made)
    except NoMatch:
        return None


def _conversion_behind(context: MatchContext, op: RegionOp) -> tuple[ActivationNodes | None, RegionOp] | None:
    """The QuantizeLinear that alone reads what an operator makes, and an activation between."""
    act, name = None, op.outputs[0]
    if op.act == NONE and op.kind.fuses:
        act = _activation_behind(context, name)
        name = name if act is None else act.nodes[-1].output[0]
    if not context.uses.only(name):
        return None
    ((place, reader),) = context.readers[name]
    if reader.op_type != QUANTIZE_LINEAR:
        return None
    try:
        end = conversion(context, place, reader)
    except NoMatch:
        return None
    return None if end is None else (act, end)


def _activation_behind(context: MatchContext, name: str) -> ActivationNodes | None:
    """The activation that alone reads a tensor."""
    for _, reader in context.readers.get(name, []):
        found = _activation_of(context, reader)
        if found is not None and found.source == name and context.read_only_by(name, found.nodes):
            return found
    return None
