"""Nodes that a graph keeps after others were added, in an order in which each stands behind those that it reads."""

from collections.abc import Iterable, Sequence

from onnx import GraphProto, NodeProto

from lth_deploy.compiler.model.traverse import read_by
from lth_deploy.compiler.regions.match.context import MatchContext


def without_unread(context: MatchContext, nodes: Sequence[NodeProto], graph: GraphProto) -> list[NodeProto]:
    """The nodes but for those that are read no more."""
    before = set(context.readers) | context.uses.elsewhere
    kept = list(nodes)
    while True:
        read = {name for node in kept for name in read_by(node)} | {value.name for value in graph.output}
        still = [node for node in kept if read & set(node.output) or not before & set(node.output)]
        if len(still) == len(kept):
            return kept
        kept = still


def in_order(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """Nodes so that each stands behind those that it reads, otherwise in the given order."""
    nodes = list(nodes)
    maker = {name: i for i, node in enumerate(nodes) for name in node.output}
    placed: set[int] = set()
    ordered: list[NodeProto] = []
    for first in range(len(nodes)):
        waiting = [first]
        while waiting:
            i = waiting[-1]
            missing = {maker[name] for name in read_by(nodes[i]) if name in maker} - placed
            if missing and i not in placed:
                waiting.extend(sorted(missing, reverse=True))
                continue
            waiting.pop()
            if i not in placed:
                placed.add(i)
                ordered.append(nodes[i])
    return ordered
