"""QuantizeLinear nodes in front of what moves their values, and activations that stand between bytes alone.

Rounding to a scale works on each value for itself, and is monotone. So values may be rounded before they are cut,
joined, repeated or pooled, and every result keeps its bits. What a quantizer leaves in floats between two layers then
becomes groups of a DequantizeLinear, a node and a QuantizeLinear, each with one reader, which kernels compute on bytes.
"""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.model.traverse import unused_name, used_names
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.node_order import in_order, without_unread
from lth_deploy.compiler.regions.match.quantized_nodes import Match, QuantizedNodes
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR, RegionOp
from lth_deploy.kernels.program.values import Quantized

_DEPTH = 64
"""Most nodes, one behind the other, that a QuantizeLinear is moved past."""

_ADDED = 2048
"""Most nodes that a graph may grow by: a QuantizeLinear of its own for every way to a tensor could be very many."""


def quantize_early(model: ModelProto, context: MatchContext, match: Match) -> ModelProto:
    """The model with QuantizeLinears moved to where bytes begin; the model itself where none moves.

    What other nodes read as floats is computed as before. context: of the graph of the model.
    """
    move = _Move(model, context, match)
    sources = move.sources()
    if not sources:
        return model
    moved = ModelProto()
    moved.CopyFrom(model)
    graph = moved.graph
    for node in graph.node:
        if node.output and node.output[0] in sources:
            node.input[0] = sources[node.output[0]]
    graph.initializer.extend(move.constants)
    kept = without_unread(context, [*graph.node, *move.added], graph)
    ordered = [NodeProto.FromString(node.SerializeToString()) for node in in_order(kept)]
    del graph.node[:]
    graph.node.extend(ordered)
    return moved


class _Move:
    """Collects the nodes that a graph gets, and what its QuantizeLinears read then.

    added, constants: new nodes and tensors.
    """

    def __init__(self, model: ModelProto, context: MatchContext, match: Match) -> None:
        self.added: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._context = context
        self._nodes = QuantizedNodes(context, match)
        self._names = used_names(model)
        self._quantizers = [
            (node, grid)
            for node in model.graph.node
            if (grid := self._nodes.quantization(node, QUANTIZE_LINEAR)) is not None
        ]
        self._rounded: dict[tuple[str, Quantized], str] = {}
        for node, grid in self._quantizers:
            self._rounded.setdefault((node.input[0], grid), node.output[0])
        self._gaining: dict[str, bool] = {}

    def sources(self) -> dict[str, str]:
        """What each QuantizeLinear that moves reads instead, by what it makes."""
        found = {}
        for node, grid in self._quantizers:
            if len(self.added) < _ADDED:
                source = self._source(node.input[0], node, grid, node.output[0], _DEPTH)
                if source != node.input[0]:
                    found[node.output[0]] = source
        return found

    def _source(self, name: str, like: NodeProto, grid: Quantized, reader: str, depth: int) -> str:
        """The float tensor with the values of another that a QuantizeLinear reads.

        like: a QuantizeLinear with the same scale and zero point. reader: what the one makes that reads the tensor.
        """
        if not depth or not self._gains(name, depth):
            return name
        place, node = self._context.producers[name]
        shared = not self._context.uses.only(name) or reader not in self._context.producers
        if node.op_type == DEQUANTIZE_LINEAR:
            return self._copy([node], reader) if shared else name
        if (nodes := self._nodes.between_bytes(node)) is not None:
            is_exclusive = not shared and self._context.read_only_by(nodes[0].output[0], nodes[1:])
            return name if is_exclusive else self._copy(nodes, reader)
        gate = self._nodes.gate(place, node)
        if gate is not None:
            return self._with_own_source(gate, reader)
        op = self._nodes.mover(place, node)
        if op is None:
            return name
        if not shared and len(node.output) == 1 and all(map(self._context.is_dequantized, op.inputs)):
            return name
        return self._moved(op, name, like, grid, reader, depth)

    def _moved(self, op: RegionOp, name: str, like: NodeProto, grid: Quantized, reader: str, depth: int) -> str:
        """What a copy of a node makes that moves rounded values."""
        (node,) = op.nodes
        inputs = []
        for number, source in enumerate(node.input):
            if source not in op.inputs:
                inputs.append(source)
                continue
            stored = self._quantized(source, like, grid, depth - 1)
            inputs.append(unused_name(f"{source}.for.{reader}.{number}", self._names))
            scale = like.input[1:]
            self.added.append(helper.make_node(DEQUANTIZE_LINEAR, [stored, *scale], inputs[-1:], inputs[-1]))
        made = unused_name(f"{name}.for.{reader}", self._names)
        if len(node.output) > 1:
            start, stop = op.pieces[list(node.output).index(name)]
            bounds = [
                self._constant(f"{made}.{key}", value) for key, value in (("start", start), ("stop", stop), ("axis", 1))
            ]
            self.added.append(helper.make_node("Slice", [inputs[0], *bounds], [made], made))
        else:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.input[:], copy.output[:], copy.name = inputs, [made], made
            self.added.append(copy)
        return made

    def _quantized(self, name: str, like: NodeProto, grid: Quantized, depth: int) -> str:
        """The bytes of a float tensor."""
        found = self._rounded.get((name, grid))
        made = self._context.producer(name)
        if found is None and made is not None and self._nodes.quantization(made, DEQUANTIZE_LINEAR) == grid:
            found = str(made.input[0])
        if found is None:
            found = unused_name(f"{name}.bytes", self._names)
            self._rounded[name, grid] = found
            source = self._source(name, like, grid, found, depth)
            self.added.append(helper.make_node(QUANTIZE_LINEAR, [source, *like.input[1:]], [found], found))
        return found

    def _with_own_source(self, op: RegionOp, reader: str) -> str:
        """What an operator of an activation makes that reads a copy of it, where others read it as well."""
        source, (node,) = op.inputs[0], op.nodes
        chain = self._nodes.chain(source)
        assert chain is not None
        if self._context.read_only_by(source, op.nodes) and self._context.read_only_by(chain[0].output[0], chain[1:]):
            return str(node.output[0])
        copy = NodeProto()
        copy.CopyFrom(node)
        copied = self._copy(chain, reader)
        copy.input[:] = [copied if name == source else name for name in node.input]
        copy.output[:] = [unused_name(f"{node.output[0]}.for.{reader}", self._names)]
        copy.name = copy.output[0]
        self.added.append(copy)
        return str(copy.output[0])

    def _copy(self, nodes: Sequence[NodeProto], reader: str) -> str:
        """What the last of some copied nodes makes for one reader."""
        names: dict[str, str] = {}
        for node in nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [names.get(name, name) for name in node.input]
            names.update((name, unused_name(f"{name}.for.{reader}", self._names)) for name in node.output)
            copy.output[:] = [names[name] for name in node.output]
            copy.name = copy.output[0]
            self.added.append(copy)
        return names[nodes[-1].output[0]]

    def _constant(self, name: str, value: int) -> str:
        name = unused_name(name, self._names)
        self.constants.append(numpy_helper.from_array(np.array([value], np.int64), name))
        return name

    def _gains(self, name: str, depth: int) -> bool:
        """Whether less is left to compute in floats where a tensor is rounded before the nodes that make it."""
        if name not in self._gaining:
            self._gaining[name] = False  # whatever is too deep
            self._gaining[name] = depth > 0 and self._found_to_gain(name, depth)
        return self._gaining[name]

    def _found_to_gain(self, name: str, depth: int) -> bool:
        made = self._context.producers.get(name)
        if made is None:
            return False
        place, node = made
        if self._nodes.quantization(node, DEQUANTIZE_LINEAR) is not None or self._nodes.between_bytes(node) is not None:
            return True
        if self._nodes.gate(place, node) is not None:
            return True
        op = self._nodes.mover(place, node)
        if op is None:
            return self._nodes.is_layer_between_bytes(node) or self._nodes.is_activated_layer(node)
        if any(self._gains(source, depth - 1) for source in op.inputs):
            return True
        enlarges = op.kind.enlarges or (op.window.kernel != (1, 1) and op.window.stride == (1, 1))
        return enlarges and self._only_rounded(name, depth)

    def _only_rounded(self, name: str, depth: int) -> bool:
        """Whether all that is made of a tensor without arithmetic ends in QuantizeLinears."""
        if not depth or name in self._context.uses.elsewhere:
            return False
        for place, reader in self._context.readers.get(name, []):
            if reader.op_type == QUANTIZE_LINEAR:
                continue
            op = self._nodes.mover(place, reader)
            if op is None or not all(self._only_rounded(output, depth - 1) for output in op.outputs):
                return False
        return True
