"""Values that follow from constants and from sizes that are known, computed once on import."""

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.compiler.artifact.packed_weight import array_of, tensor_bytes
from lth_deploy.compiler.importing.constants import constant_value
from lth_deploy.compiler.importing.evaluated import Evaluator, NotFoldedError, bytes_of
from lth_deploy.compiler.importing.plain.inferred import Dims, Inferred, infer
from lth_deploy.compiler.importing.plain.main_graph import put_nodes, standard
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes, inner_graphs

LARGEST = 2 << 20
"""Most bytes of one constant that takes the place of operators: anchors and position embeddings of detectors."""

ALL = 16 << 20
"""Most bytes of all of them."""

ROUNDS = 64
"""Times that shapes are inferred anew, because what was computed may be the shape that another value takes."""

_WHOLE = (TensorProto.INT64, TensorProto.INT32)
"""Types of sizes, pads and indices, which are no weights."""

_STORED = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""What follows from these stays: it is stored in fewer bits than it would be computed in."""


def fold_values(model: ModelProto) -> int:
    """Compute, in place, what operators of the main graph make of constants and of known sizes; how many went.

    A value keeps its name. What is large stays computed, and so does what the model returns.
    """
    evaluator = Evaluator(model.opset_import, bytes_of(list(model.graph.initializer)))
    before, free = len(model.graph.node), [ALL]
    computed: dict[str, dict[str, TensorProto] | None] = {}
    for _ in range(ROUNDS):
        values = _Values(model, infer(model), evaluator, computed)
        values.compute()
        if not values.made or not values.put(free):
            break
    return before - len(model.graph.node)


def _may_be_weight(tensor: TensorProto) -> bool:
    """Whether a constant is no vector, and no whole numbers as pads and indices are."""
    return sum(size > 1 for size in tensor.dims) > 1 and tensor.data_type not in _WHOLE


@dataclass
class _Values:
    """One pass over the main graph.

    known: constants by name. parts: sizes of which only some are known, by the name of the vector that holds them.
    made: the nodes that were computed, by their first output. computed: what nodes made in any pass, by their first
    output; None where they cannot be computed.
    """

    model: ModelProto
    inferred: Inferred
    evaluator: Evaluator
    computed: dict[str, dict[str, TensorProto] | None]
    known: dict[str, TensorProto] = field(default_factory=dict)
    parts: dict[str, Dims] = field(default_factory=dict)
    made: dict[str, NodeProto] = field(default_factory=dict)

    def compute(self) -> None:
        """Go through the graph once."""
        graph = self.model.graph
        overridable = {value.name for value in graph.input}
        self.known = {one.name: one for one in graph.initializer if one.name not in overridable}
        for node in graph.node:
            value = constant_value(node)
            if value is not None:
                self.known[node.output[0]] = value
            elif node.output:
                self._visit(node)

    def _visit(self, node: NodeProto) -> None:
        sizes = self._sizes(node)
        if sizes is not None:
            name = node.output[0]
            if None not in sizes[0]:
                made = np.asarray(sizes[0], np.int64).reshape(sizes[1])
                self.known[name], self.made[name] = numpy_helper.from_array(made, name), node
            elif sizes[1] != ():
                self.parts[name] = sizes[0]
            return
        given = [name for name in node.input if name]
        traits = traits_of(node.op_type)
        computable = traits.constant_folding and node.op_type not in _STORED and not node.domain
        if not computable or not given or not self.known.keys() >= set(given):
            return
        if traits.view and _may_be_weight(self.known[given[0]]):
            return  # as it is, the tensor is stored once
        key = node.output[0]
        if key not in self.computed:
            try:
                self.computed[key] = self.evaluator.run(node, {name: self.known[name] for name in given})
            except NotFoldedError:
                self.computed[key] = None
        found = self.computed[key]
        if found is not None:
            self.known |= found
            self.made[key] = node

    def _sizes(self, node: NodeProto) -> tuple[Dims, tuple[int, ...]] | None:
        """Sizes that a node makes, and the shape that it gives them; None of nodes that make none.

        Some may be known while others are not: the batch stays open where height and width are given.
        """
        if standard(node, "Shape") and node.input[0] in self.inferred.dims:
            dims = self.inferred.dims[node.input[0]]
            taken = dims[attribute(node, "start", 0) : attribute(node, "end", None)]
            return taken, (len(taken),)
        if not node.input or node.input[0] not in self.parts:
            return None
        dims = self.parts[node.input[0]]
        if standard(node, "Gather") and len(node.input) == 2 and node.input[1] in self.known:
            places = array_of(self.known[node.input[1]])
            if places.ndim <= 1 and all(-len(dims) <= int(place) < len(dims) for place in places.reshape(-1)):
                return tuple(dims[int(place)] for place in places.reshape(-1)), places.shape
        if standard(node, "Slice") and len(node.input) >= 3:
            start, end = (self._number(name) for name in node.input[1:3])
            step = self._number(node.input[4]) if len(node.input) > 4 and node.input[4] else 1
            if start is not None and end is not None and step:
                taken = dims[start:end:step]
                return taken, (len(taken),)
        return None

    def _number(self, name: str) -> int | None:
        tensor = self.known.get(name)
        values = None if tensor is None else array_of(tensor).reshape(-1)
        return int(values[0]) if values is not None and values.size == 1 else None

    def put(self, free: list[int]) -> bool:
        """Put constants in the place of what was computed; whether a node went. free: bytes that may still be added."""
        graph = self.model.graph
        required = {value.name for one in all_graphs(graph) for value in one.output}
        returned = {value.name for value in graph.output}
        before = {name for node in all_nodes(graph) for name in node.input if name}
        kept: list[NodeProto] = []
        stored: dict[str, TensorProto] = {}
        for node in reversed(graph.node):
            outputs = [name for name in node.output if name]
            read = [name for name in outputs if name in required]
            if self.made.get(node.output[0] if node.output else "") is node and self._fits(read, returned, free):
                for name in read:
                    stored[name] = self.known[name]
                    free[0] -= tensor_bytes(self.known[name])
                continue
            if not read and not before.isdisjoint(outputs):
                continue  # only its shape was read, or what was computed of it
            kept.append(node)
            required.update(node.input)
            for inner in inner_graphs(node):
                required.update(name for one in all_nodes(inner) for name in one.input)
        gone = len(kept) < len(graph.node)
        if gone:
            put_nodes(self.model, list(reversed(kept)))
            graph.initializer.extend(stored.values())
        return gone

    def _fits(self, names: list[str], returned: set[str], free: list[int]) -> bool:
        sizes = [tensor_bytes(self.known[name]) for name in names]
        return returned.isdisjoint(names) and max(sizes, default=0) <= LARGEST and sum(sizes) <= free[0]
