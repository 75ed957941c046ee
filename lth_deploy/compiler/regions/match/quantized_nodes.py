"""Which nodes of a graph compute on bytes already, or would where a QuantizeLinear stands behind them.

Bytes are the quantized values of an activation, with one scale and one zero point for the tensor.
"""

from collections.abc import Callable

from onnx import NodeProto

from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.regions.match.activations import activation
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import NoMatch
from lth_deploy.compiler.regions.match.products import ActivationNodes
from lth_deploy.compiler.regions.match.qdq import quantized_of
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, RegionOp
from lth_deploy.kernels.program.values import Quantized

Match = Callable[[MatchContext, int, NodeProto], RegionOp | None]
"""The operator of regions that ends in a node; raises NoMatch."""


class QuantizedNodes:
    """What is known of the nodes of one graph; nothing here changes the graph.

    match: finds the operator of a region that a node becomes.
    """

    def __init__(self, context: MatchContext, match: Match) -> None:
        self._context = context
        self._match = match

    def quantization(self, node: NodeProto, operator: str) -> Quantized | None:
        """Scale and zero point of a conversion of activations."""
        if node.op_type != operator or node.input[0] in self._context.weights.stored:
            return None
        try:
            return quantized_of(node, self._context.info)
        except NoMatch:
            return None

    def between_bytes(self, node: NodeProto) -> list[NodeProto] | None:
        """The DequantizeLinear and the nodes of an activation that ends in a node; None of others."""
        found = self._activation(node)
        made = None if found is None else self._context.producer(found.source)
        if found is None or made is None or self.quantization(made, DEQUANTIZE_LINEAR) is None:
            return None
        return [made, *found.nodes]

    def chain(self, name: str) -> list[NodeProto] | None:
        """The DequantizeLinear, and the activation where there is one, that make a tensor."""
        made = self._context.producer(name)
        if made is None:
            return None
        return [made] if self.quantization(made, DEQUANTIZE_LINEAR) is not None else self.between_bytes(made)

    def gate(self, place: int, node: NodeProto) -> RegionOp | None:
        """The operator of a node that kernels compute of bytes; of their activation only where no floats are read."""
        op = self._matched(place, node)
        if (
            op is None
            or op.kind.activated_form is None
            or len(op.nodes) != 1
            or not self._context.uses.only(op.outputs[0])
        ):
            return None
        source, chain = op.inputs[0], self.chain(op.inputs[0])
        if chain is None or source in self._context.uses.elsewhere:
            return None
        others = [reader for reader in self._context.readers[source] if reader[1].output[0] != node.output[0]]
        return op if len(chain) == 1 or all(self._takes_bytes(*reader) for reader in others) else None

    def mover(self, place: int, node: NodeProto) -> RegionOp | None:
        """The operator of a node that only moves values."""
        op = self._matched(place, node)
        moves = op is not None and op.kind.keeps_grid and op.linear is None and len(op.nodes) == 1
        return op if moves else None

    def is_layer_between_bytes(self, node: NodeProto) -> bool:
        """Whether a layer or sum of bytes, which a QuantizeLinear behind it would let make bytes, has one reader."""
        return self._context.uses.only(node.output[0]) and self._reads_bytes(node)

    def is_activated_layer(self, node: NodeProto) -> bool:
        """Whether a node ends the activation of such a layer or sum, which no others read."""
        found = self._activation(node)
        made = None if found is None else self._context.producer(found.source)
        if found is None or made is None or not self._context.uses.only(node.output[0]):
            return False
        return self._context.read_only_by(found.source, found.nodes) and self._reads_bytes(made)

    def _takes_bytes(self, place: int, node: NodeProto) -> bool:
        """Whether a reader of an activation does without its floats: it rounds them, or is such an operator itself."""
        if node.op_type == QUANTIZE_LINEAR:
            return True
        op = self._matched(place, node)
        if op is None or op.kind.activated_form is None or not self._context.uses.only(op.outputs[0]):
            return False
        ((_, reader),) = self._context.readers[op.outputs[0]]
        return self.quantization(reader, QUANTIZE_LINEAR) is not None

    def _reads_bytes(self, node: NodeProto) -> bool:
        """Whether a node is a layer of bytes, or a sum of them, of which one may go through an activation."""
        if traits_of(node.op_type).bias_input is not None:
            return all(map(self._context.is_dequantized, node.input[:2]))
        if node.op_type != "Add":
            return False
        plain = list(map(self._context.is_dequantized, node.input))
        others = [
            self._context.producer(name) for name, is_plain in zip(node.input, plain, strict=True) if not is_plain
        ]
        return any(plain) and all(one is not None and self.between_bytes(one) is not None for one in others)

    def _activation(self, node: NodeProto) -> ActivationNodes | None:
        try:
            return activation(self._context, node)
        except NoMatch:
            return None

    def _matched(self, place: int, node: NodeProto) -> RegionOp | None:
        try:
            return self._match(self._context, place, node)
        except NoMatch:
            return None
