"""Weights, biases and scales that are computed from constants, computed once on import.

A folded value keeps its name. Weights that are stored as integers and only pass a DequantizeLinear stay integers.
"""

from collections import Counter
from collections.abc import Iterator

from onnx import ModelProto, NodeProto, TensorProto

from lth_deploy.compiler.artifact.packed_weight import is_widening
from lth_deploy.compiler.importing.constants import constant_value
from lth_deploy.compiler.importing.evaluated import Evaluator, NotFoldedError, bytes_of
from lth_deploy.compiler.importing.parameters import parameters_of
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_graphs, all_nodes, unused_name, used_names

DEQUANTIZE = "DequantizeLinear"


def fold_parameters(model: ModelProto) -> list[str]:
    """Fold, in place, what parameters of layers are computed from; what was done, and what was not and why.

    Raises:
        ArtifactError: a tensor is damaged.
    """
    constants = _Constants(model)
    wanted = list(dict.fromkeys(constants.targets()))
    if not wanted:
        return []
    evaluator = Evaluator(model.opset_import, bytes_of(list(model.graph.initializer)))
    folded: dict[str, TensorProto] = {}
    failed: Counter[str] = Counter()
    for name in wanted:
        try:
            folded[name] = constants.evaluate(name, evaluator, folded)
        except NotFoldedError as error:
            failed[str(error)] += 1
    notes = [f"parameters stay computed in the graph, {count} because {reason}" for reason, count in failed.items()]
    if folded:
        operators = Counter(constants.makers[name].op_type for name in folded)
        _replace(model, folded, constants.names)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(operators.items()))
        notes.insert(0, f"parameters that follow from constants were folded: {listed}")
    return notes


class _Constants:
    """What of a model follows from constants alone.

    stored: constant tensors by name. makers: nodes that make other values, of all graphs; a name that several graphs
    give is left out. names: all values that follow.
    """

    def __init__(self, model: ModelProto) -> None:
        graphs = list(all_graphs(model.graph))
        self._nodes = [node for graph in graphs for node in graph.node]
        times = Counter(name for node in self._nodes for name in node.output if name)
        times.update(tensor.name for graph in graphs for tensor in graph.initializer)
        times.update(value.name for graph in graphs[1:] for value in graph.input)
        overridable = {value.name for value in model.graph.input}
        tensors = [tensor for graph in graphs for tensor in graph.initializer if tensor.name not in overridable]
        self.stored = {tensor.name: tensor for tensor in tensors if times[tensor.name] == 1}
        self.makers: dict[str, NodeProto] = {}
        self.names = set(self.stored)
        for node in self._nodes:
            value = constant_value(node)
            if value is not None and times[node.output[0]] == 1:
                self.stored[node.output[0]] = value
                self.names.add(node.output[0])
                continue
            made = [name for name in node.output if name and times[name] == 1]
            self.makers.update((name, node) for name in made)
            if self._folds(node):
                self.names.update(made)
        self._readers = Counter(name for node in self._nodes for name in node.input if name)
        # What a branch returns has to be made in it; the main graph may return an initializer.
        self._outputs = {value.name for graph in graphs[1:] for value in graph.output}

    def targets(self) -> Iterator[str]:
        """Names of the values to fold."""
        for node in self._nodes:
            for name in parameters_of(node):
                if name in self.names and name not in self.stored:
                    target = self._target(name, node)
                    if target is not None and target not in self._outputs:
                        yield target

    def evaluate(self, name: str, evaluator: Evaluator, folded: dict[str, TensorProto]) -> TensorProto:
        """Compute a value and all that it needs, in order.

        Raises:
            NotFoldedError: it cannot be.
        """
        made: dict[str, TensorProto] = {}
        waiting = [name]
        while waiting:
            node = self.makers[waiting[-1]]
            given = {one: self.stored.get(one) or folded.get(one) or made.get(one) for one in node.input if one}
            missing = [one for one, value in given.items() if value is None]
            waiting.extend(missing)
            if not missing:
                made |= evaluator.run(node, {one: value for one, value in given.items() if value is not None})
                while waiting and waiting[-1] in made:
                    waiting.pop()
        return made[name]

    def _folds(self, node: NodeProto) -> bool:
        given = [name for name in node.input if name]
        from_constants = bool(given) and self.names.issuperset(given)
        return traits_of(node.op_type).constant_folding and not node.domain and from_constants

    def _target(self, name: str, layer: NodeProto) -> str | None:
        """What to fold of a parameter: all of it, what reaches its DequantizeLinear, or nothing."""
        source, read_once = name, True
        while source not in self.stored and traits_of(self.makers[source].op_type).view:
            source = self.makers[source].input[0]
            read_once = read_once and self._readers[source] == 1
        if source in self.stored:
            # As it is, the tensor is stored once; folded, what else reads it would need another copy.
            return name if read_once else None
        maker = self.makers[source]
        if is_widening(maker, self.stored):
            return None
        if maker.op_type != DEQUANTIZE:
            return name
        if maker.input[0] in self.stored:
            return None
        return maker.input[0] if self._on_bytes(layer) else name

    def _on_bytes(self, layer: NodeProto) -> bool:
        """Whether what a layer reads comes out of a DequantizeLinear: then its weight is to stay quantized."""
        if not traits_of(layer.op_type).has_weight or layer.input[0] not in self.makers:
            return False
        return self.makers[layer.input[0]].op_type == DEQUANTIZE


def _replace(model: ModelProto, folded: dict[str, TensorProto], constant: set[str]) -> None:
    """Put initializers where values were computed, and drop what nothing reads any more."""
    names, unread = used_names(model), set(constant)
    for node in all_nodes(model.graph):
        if any(name in folded for name in node.output):
            node.output[:] = [unused_name(f"{one}.before", names) if one in folded else one for one in node.output]
            unread.update(node.output)
    model.graph.initializer.extend(folded.values())
    _drop_unread(model, unread, set(folded))


def _drop_unread(model: ModelProto, constant: set[str], folded: set[str]) -> None:
    """Drop the nodes that make only constants of which nothing is read, and the initializers that they alone read."""
    dropped: set[str] = set()
    gone, read = True, _read(model)
    while gone:
        gone = False
        for graph in all_graphs(model.graph):
            kept = []
            for node in graph.node:
                if constant.issuperset(filter(None, node.output)) and read.isdisjoint(node.output):
                    dropped.update(node.input)
                else:
                    kept.append(NodeProto.FromString(node.SerializeToString()))
            if len(kept) < len(graph.node):
                gone = True
                del graph.node[:]
                graph.node.extend(kept)
        read = _read(model)
    for graph in all_graphs(model.graph):
        tensors = [
            TensorProto.FromString(one.SerializeToString())
            for one in graph.initializer
            if one.name in read | folded or one.name not in dropped
        ]
        if len(tensors) < len(graph.initializer):
            del graph.initializer[:]
            graph.initializer.extend(tensors)


def _read(model: ModelProto) -> set[str]:
    names = {name for node in all_nodes(model.graph) for name in node.input if name}
    return names | {value.name for graph in all_graphs(model.graph) for value in graph.output}
