"""What the operators of a dense model have to do in stock ONNX Runtime, as it runs them: fused, and in its layouts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import weight_users
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.ort_profile import OperatorTime
from lth_deploy.compiler.planning.amounts import CALL, far
from lth_deploy.compiler.planning.stock_nodes import in_blocked_layout, is_layer, source_node

_STEM_CHANNELS = 4

_WINDOWED = ("MaxPool", "AveragePool")
_GLOBAL = ("GlobalMaxPool", "GlobalAveragePool")

_INT8 = "int8 "

_IN_BOTH_LAYOUTS = ("conv", "pointwise")
"""Classes of float layers that the runtime computes in blocks of channels, or in the layout of the model, such as the
last layers of a quantized graph, whose outputs are floats."""


@dataclass(frozen=True)
class Executed:
    """An operator as the stock runtime runs it.

    node: of the model, that it stands for, of fused ones the layer; None for one of the runtime's own. weight: name and
    shape of a layer's.
    """

    time: OperatorTime
    node: NodeProto | None
    weight: tuple[str, tuple[int, ...]] | None

    @property
    def amounts(self) -> dict[str, float] | None:
        """What it has to do; None of a layer whose weight is not known."""
        if self.weight is not None:
            groups = 1 if self.node is None else attribute(self.node, "group", 1)
            found = layer_amounts(self.time, self.weight[1], groups)
        elif is_layer(self.time.op_type):
            return None
        else:
            found = operator_amounts(self.time, self.node)
        return found | far(_bytes(self.time)) if found else found


def executed(times: Iterable[OperatorTime], plain: ModelProto) -> list[Executed]:
    """The operators of a profile of `plain`, whose nodes `name_nodes` has named."""
    makers = {name: node for node in plain.graph.node for name in node.output}
    weights = stored_weights(plain)
    shapes = {node.output[0]: (weight, weights[weight].shape) for node, weight in weight_users(plain, weights)}
    found = []
    for one in times:
        node = source_node(one, plain, makers)
        weight = shapes.get(node.output[0]) if node is not None and is_layer(one.op_type) else None
        found.append(Executed(one, node, weight))
    return found


def layer_amounts(one: OperatorTime, weight: Sequence[int], groups: int = 1) -> dict[str, float]:
    """Amounts of a layer. weight: its shape, as the model stores it; shapes of activations may be filled up to blocks.

    Weights are read from far away in each inference. Of depthwise layers few columns at the left and right border, and
    short lines, take longer than others.
    """
    kind = _layer_class(one, weight, groups)
    name = _named(kind, one)
    if name in _IN_BOTH_LAYOUTS and not in_blocked_layout(one):
        name = f"plain {name}"
    outputs, inputs = math.prod(one.outputs[0]), math.prod(one.inputs[0])
    macs = (inputs if "ConvTranspose" in one.op_type else outputs) * math.prod(weight[1:])
    if kind == "rows":  # whose weight may be stored either way round
        macs = outputs * one.inputs[0][-1]
    amounts = {f"{name}.macs": float(macs), f"{name}.values": float(inputs + outputs), CALL: 1.0}
    if kind not in ("stem", "depthwise"):  # of which they have few
        amounts[f"{name}.weights"] = float(math.prod(weight))
    if kind == "grouped":
        del amounts[f"{name}.values"]
        amounts[f"{name}.groups"] = groups * outputs / weight[0]
    if kind == "depthwise":
        width = one.outputs[0][2] if weight[0] in one.outputs[0][3:] else one.outputs[0][-1]
        taps = math.prod(weight[2:])
        amounts[f"{name}.lines"] = outputs / max(width, 1)
        amounts[f"{name}.edges"] = outputs * taps * min(1.0, (weight[-1] - 1) / max(width, 1))
        amounts[f"{name}.pixels"] = outputs / weight[0] * taps
    return amounts


def operator_amounts(one: OperatorTime, node: NodeProto | None = None) -> dict[str, float]:
    """Amounts of an operator that is no layer: the values that it reads or writes, whatever is more.

    node: of the model, that it stands for.
    """
    if traits_of(one.op_type).moves_no_value or not one.outputs:
        return {}
    values = float(max(math.prod(one.inputs[0]) if one.inputs else 0, math.prod(one.outputs[0])))
    name = _named(one.op_type, one)
    if node is not None and node.op_type == "Resize":
        name = f"{name} {attribute(node, 'mode', 'nearest')}"
    amounts = {name: values, CALL: 1.0}
    if one.op_type.endswith(_WINDOWED) and node is not None and not one.op_type.endswith(_GLOBAL):
        amounts = {
            f"{name} taps": float(math.prod(attribute(node, "kernel_shape", (1, 1))) * math.prod(one.outputs[0]))
        }
        amounts |= {name: values, CALL: 1.0}
    return amounts


def _bytes(one: OperatorTime) -> float:
    """Bytes of what an operator reads first and of what it writes."""
    shapes = (*one.inputs[:1], *one.outputs)
    kinds = (*one.types[:1], *one.types[len(one.inputs) :])
    return float(
        sum((1 if "int8" in kind else 4) * math.prod(shape) for shape, kind in zip(shapes, kinds, strict=False))
    )


def _named(kind: str, one: OperatorTime) -> str:
    """The kind, and whether it reads quantized values."""
    return f"{_INT8}{kind}" if one.types and "int8" in one.types[0] else kind


def _layer_class(one: OperatorTime, weight: Sequence[int], groups: int) -> str:
    if len(weight) == 2:
        return "rows"
    if "ConvTranspose" in one.op_type:
        return "transposed"
    if groups > 1:
        return "depthwise" if weight[1] == 1 else "grouped"
    if weight[1] <= _STEM_CHANNELS:
        return "stem"
    return "pointwise" if tuple(weight[2:]) == (1, 1) else "conv"
