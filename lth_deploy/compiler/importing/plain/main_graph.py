"""The main graph of a model while passes rewrite it: who reads a value, what is constant, and fresh names."""

from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.constants import constant_value
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes, inner_graphs, unused_name, used_names


class MainGraph:
    """Nodes by what they make, readers by what they read.

    nodes: of the main graph, in order. makers: by the names of their outputs. readers: nodes of the main graph by the
    names of their inputs, one entry for each place. kept: names that must stay as they are: outputs of a graph,
    and what the graphs inside of nodes read.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._names = used_names(model)
        overridable = {value.name for value in model.graph.input}
        self._tensors = {one.name: one for one in model.graph.initializer if one.name not in overridable}
        self.kept = {value.name for graph in all_graphs(model.graph) for value in graph.output}
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.makers: dict[str, NodeProto] = {}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for graph in inner_graphs(node):
                self.kept.update(name for one in all_nodes(graph) for name in one.input)
            self.makers.update((name, node) for name in node.output if name)
            for name in node.input:
                if name:
                    self.readers[name].append(node)
            value = constant_value(node)
            if value is not None:
                self._tensors.setdefault(node.output[0], value)

    def tensor(self, name: str) -> TensorProto | None:
        """A constant that no caller can replace."""
        return self._tensors.get(name)

    def floats(self, name: str) -> Array | None:
        """The value of a constant of type float32; None of anything else."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        return array_of(tensor)

    def only_reader(self, name: str) -> NodeProto | None:
        """The node that alone reads a value, at one place; None where there are others or where the value must stay."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.kept else None

    def is_stored(self, name: str) -> bool:
        """Whether a constant is an initializer of the main graph, and no Constant node."""
        return name in self._tensors and name not in self.makers

    def add(self, wanted: str, value: Array) -> str:
        """Add an initializer; its name, which is much like the wanted one."""
        name = unused_name(wanted, self._names)
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._model.graph.initializer.append(tensor)
        self._tensors[name] = self._model.graph.initializer[-1]
        return name

    def replace(self, name: str, value: Array) -> None:
        """Give an initializer another value of its type."""
        self._tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))

    def fresh(self, wanted: str) -> str:
        """A name that no value has."""
        return unused_name(wanted, self._names)


def standard(node: NodeProto, *op_types: str) -> bool:
    """Whether a node is one of these standard operators, and has the inputs that the operator needs."""
    if node.op_type not in op_types or node.domain not in STANDARD_DOMAINS:
        return False
    traits = traits_of(node.op_type)
    return len(node.input) > (traits.weight_input or 0) and len(node.output) > 0 and bool(node.output[0])


def put_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Give the main graph these nodes; constants that are read no more go, and so does what is known of lost values."""
    graph = model.graph
    before = {name for node in graph.node for name in node.input}
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    read = {name for node in all_nodes(graph) for name in node.input}
    read |= {value.name for one in all_graphs(graph) for value in one.output}
    read |= {value.name for value in graph.input}
    _drop_initializers(model, before - read)
    kept = [node for node in graph.node if constant_value(node) is None or node.output[0] in read]
    if len(kept) < len(graph.node):
        copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)
    made = {name for node in graph.node for name in node.output} | read
    infos = [one for one in graph.value_info if one.name in made]
    if len(infos) < len(graph.value_info):
        copied = [type(one).FromString(one.SerializeToString()) for one in infos]
        del graph.value_info[:]
        graph.value_info.extend(copied)


def _drop_initializers(model: ModelProto, names: Collection[str]) -> None:
    tensors = [one for one in model.graph.initializer if one.name not in names]
    if len(tensors) < len(model.graph.initializer):
        copies = [TensorProto.FromString(one.SerializeToString()) for one in tensors]
        del model.graph.initializer[:]
        model.graph.initializer.extend(copies)
