"""The planes that channels of a flattened tensor come from, [N, C, P] from [N, C, H, W] of one or several levels."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto

from lth_deploy.compiler.importing.plain.inferred import Inferred
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, standard
from lth_deploy.compiler.model.attributes import attribute

_CHANNELS, _PLACES, _PLANE = 1, 2, 4

_MOST = 16
"""Most levels that are joined, once on a way, and most nodes on it: a file may join one tensor any number of times."""


@dataclass(frozen=True)
class Source:
    """plane: [N, C, H, W]. part: its channels [from, to), None for all. behind: nodes between, the last one first."""

    plane: str
    part: tuple[int, int] | None
    behind: tuple[NodeProto, ...] = ()


def planes_of(
    graph: MainGraph, inferred: Inferred, name: str, first: int, count: int, *, way: tuple[NodeProto, ...] = ()
) -> Sequence[Source] | None:
    """Where `count` channels from `first` on of a tensor come from, in the order of places.

    way: the nodes behind it. None where it is not known.
    """
    dims, made = inferred.dims.get(name, ()), graph.makers.get(name)
    if len(dims) == _PLANE:
        return [_plane(graph, inferred, name, first, count, way)]
    if made is None or len(dims) != _PLACES + 1 or len(way) >= _MOST:
        return None
    way = (*way, made)
    if standard(made, "Reshape"):
        before = inferred.dims.get(made.input[0], ())
        keeps = len(before) == _PLANE and None not in before[:2] and before[:2] == dims[:2]
        return [_plane(graph, inferred, made.input[0], first, count, way)] if keeps else None
    if standard(made, "Concat") and attribute(made, "axis") in (_PLACES, -1):
        if len(made.input) > _MOST or any(standard(node, "Concat") for node in way[:-1]):
            return None
        levels = [planes_of(graph, inferred, level, first, count, way=way) for level in made.input]
        return None if None in levels else [source for level in levels if level is not None for source in level]
    if standard(made, "Split") and attribute(made, "axis", 0) in (_CHANNELS, -2):
        sizes = [inferred.dims.get(output, (None, None))[_CHANNELS] for output in made.output]
        place = list(made.output).index(name)
        if None not in sizes:
            before_it = sum(size or 0 for size in sizes[:place])
            return planes_of(graph, inferred, made.input[0], first + before_it, count, way=way)
    return None


def _plane(
    graph: MainGraph, inferred: Inferred, name: str, first: int, count: int, way: tuple[NodeProto, ...]
) -> Source:
    """Channels of a plane; of a Concat, of the one part that has them all."""
    made = graph.makers.get(name) if len(way) < _MOST else None
    if made is not None and standard(made, "Concat") and attribute(made, "axis") in (_CHANNELS, -3):
        at = 0
        for part in made.input:
            channels = inferred.dims.get(part, (None, None))[_CHANNELS]
            if channels is None:
                break
            if at <= first and first + count <= at + channels:
                return _plane(graph, inferred, part, first - at, count, (*way, made))
            at += channels
    whole = first == 0 and inferred.dims[name][_CHANNELS] == count
    return Source(name, None if whole else (first, first + count), way)
