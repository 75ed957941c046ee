"""Regions that would depend on each other, or on themselves through nodes outside: no order computes those."""

from collections.abc import Iterable, Sequence

from onnx import GraphProto

from lth_deploy.compiler.model.traverse import read_by
from lth_deploy.compiler.regions.match.region_op import RegionOp


def returning(graph: GraphProto, regions: Sequence[Sequence[RegionOp]]) -> set[int]:
    """Places of ops that read what is made outside of their region from what their region makes.

    Empty where the regions, each computed as a whole, have an order. Takes time linear in the size of the graph.
    """
    reads = _reads(graph, regions)
    unit_of = {name: unit for unit, (made, _) in enumerate(reads) for name in made}
    before = [{unit_of[name] for name in names if name in unit_of} - {unit} for unit, (_, names) in enumerate(reads)]
    behind: list[set[int]] = [set() for _ in reads]
    for unit, others in enumerate(before):
        for other in others:
            behind[other].add(unit)
    cyclic = _between_cycles(before, behind)
    return {
        op.place
        for unit, region in enumerate(regions)
        if unit in cyclic
        for op in region
        if any(unit_of.get(name, unit) in cyclic - {unit} for name in op.inputs)
    }


def _reads(graph: GraphProto, regions: Sequence[Sequence[RegionOp]]) -> list[tuple[Iterable[str], Iterable[str]]]:
    """What every region, and behind them every node outside, makes and reads."""
    inside = {node.output[0] for region in regions for op in region for node in op.nodes}
    units: list[tuple[Iterable[str], Iterable[str]]] = [
        ({name for op in region for name in op.outputs}, {name for op in region for name in op.inputs})
        for region in regions
    ]
    outside = [node for node in graph.node if not (node.output and node.output[0] in inside)]
    return units + [(node.output, read_by(node)) for node in outside]


def _between_cycles(before: Sequence[set[int]], behind: Sequence[set[int]]) -> set[int]:
    """Units on a cycle, or between two of them: those that are left when units without others are taken away."""
    left = set(range(len(before)))
    for towards, away in ((before, behind), (behind, before)):
        missing = {unit: len(towards[unit] & left) for unit in left}
        ready = [unit for unit, count in missing.items() if not count]
        while ready:
            unit = ready.pop()
            left.discard(unit)
            for other in away[unit] & left:
                missing[other] -= 1
                if not missing[other]:
                    ready.append(other)
    return left
