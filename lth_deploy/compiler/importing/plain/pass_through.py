"""Nodes that hand on what they read: Identity, Dropout while not training, Cast to the type at hand."""

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.plain.inferred import Inferred, infer
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.tensor_types import numpy_type


def drop_pass_through(model: ModelProto) -> Counter[str]:
    """Drop them, in place, from the main graph; how many, by operator.

    What a graph returns keeps its name, so the node that gives it that name stays. Of two Casts in a row one is left
    where the first holds every value exactly.
    """
    if not any(standard(node, "Identity", "Dropout", "Cast") for node in model.graph.node):
        return Counter()
    graph, dropped = MainGraph(model), Counter[str]()
    inferred = infer(model) if any(standard(node, "Cast") for node in graph.nodes) else Inferred({}, {})
    source: dict[str, str] = {}
    kept, shortened = [], False
    for node in graph.nodes:
        node.input[:] = [source.get(name, name) for name in node.input]
        if standard(node, "Cast"):
            shortened |= _shorten(graph, node, inferred)
        returned = [name for name in node.output if name and name in graph.kept]
        if not returned and _hands_on(graph, node, inferred):
            source[node.output[0]] = node.input[0]
            dropped[node.op_type] += 1
        else:
            kept.append(node)
    if dropped or shortened:
        read = {name for node in kept for name in node.input} | graph.kept
        put_nodes(model, [node for node in kept if node.output[0] in read or not standard(node, "Cast")])
    return dropped


def _hands_on(graph: MainGraph, node: NodeProto, inferred: Inferred) -> bool:
    if standard(node, "Identity"):
        return True
    if standard(node, "Dropout"):
        unread = all(not graph.readers.get(name) for name in node.output[1:])
        return unread and not _may_train(graph, node)
    if standard(node, "Cast"):
        return bool(inferred.types.get(node.input[0], 0) == attribute(node, "to", -1))
    return False


def _may_train(graph: MainGraph, node: NodeProto) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return False
    flag = graph.tensor(node.input[2])
    return flag is None or bool(array_of(flag).any())


def _shorten(graph: MainGraph, node: NodeProto, inferred: Inferred) -> bool:
    """Let a Cast read what the Cast before it read, where that one loses nothing; whether it does."""
    before = graph.makers.get(node.input[0])
    if before is None or not standard(before, "Cast"):
        return False
    first, between = (inferred.types.get(name) for name in (before.input[0], before.output[0]))
    if not first or not between or not _holds(between, first):
        return False
    node.input[0] = before.input[0]
    return True


def _holds(wide: int, narrow: int) -> bool:
    """Whether a type has every value of another one."""
    try:
        kinds = [numpy_type(kind) for kind in (narrow, wide)]
    except KeyError:
        return False
    exact = kinds[0].kind == "b" or kinds[0].kind + kinds[1].kind in ("ff", "ii", "uu", "ui")
    return exact and kinds[1].kind in "biuf" and np.can_cast(kinds[0], kinds[1], "safe")
