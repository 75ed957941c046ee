"""The means of bins that distribution focal loss (DFL) predicts, computed level by level on the planes of a head.

Exporters write them behind reshapes that flatten planes, and behind a Concat of all levels: as Softmax over one of four
dimensions, and a 1x1 convolution, a product with a vector, or Mul and ReduceSum. Here each level gets one form, which
reads what its last convolution makes: so regions reach to the distances. What a Concat joined for a Split alone is no
longer joined. All of this moves the same values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.plain import axis_parts
from lth_deploy.compiler.importing.plain.axis_parts import Axes, Part
from lth_deploy.compiler.importing.plain.inferred import Inferred, infer
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard
from lth_deploy.compiler.importing.plain.planes import Source, planes_of
from lth_deploy.compiler.importing.plain.softmax import weights_of_mean
from lth_deploy.compiler.model.attributes import attribute

FORM = ("Transpose", "Reshape", "Softmax", "MatMul", "Reshape", "Transpose")
"""From [N, G * B, H, W] to [N, G, H, W].

By way of [N, H, W, G * B], [N, H, W * G, B], twice that, [N, H, W * G, 1] and [N, H, W, G].
"""

_MOST_MOVES = 6
"""Most reshapes and transpositions in front of a Softmax."""

_CHANNELS = 1


@dataclass(frozen=True)
class _Mean:
    """A mean of bins as an exporter wrote it.

    nodes: from the Softmax to the sum. moves: the nodes before these, which move values. sources: what they read, level
    by level. bins: [B]. order: that of the axes [N, G, P] in the result. dims: those of the result.
    """

    nodes: tuple[NodeProto, ...]
    moves: tuple[NodeProto, ...]
    sources: tuple[Source, ...]
    bins: Array
    groups: int
    order: tuple[int, ...]
    dims: tuple[int, ...]


def means_of_bins(model: ModelProto) -> int:
    """Rewrite, in place, each whose sizes are known; how many."""
    if not any(standard(node, "Softmax") for node in model.graph.node):
        return 0
    graph, inferred = MainGraph(model), infer(model)
    found = [mean for node in graph.nodes if standard(node, "Softmax") and (mean := _mean(graph, inferred, node))]
    if not found:
        return 0
    writer = _Writer(graph, inferred)
    for mean in found:
        writer.write(mean)
    put_nodes(model, writer.nodes())
    return len(found)


def _mean(graph: MainGraph, inferred: Inferred, softmax: NodeProto) -> _Mean | None:
    moves: list[NodeProto] = []
    name = softmax.input[0]
    while (made := graph.makers.get(name)) is not None and standard(made, "Reshape", "Transpose"):
        moves.insert(0, made)
        name = made.input[0]
    sizes = inferred.dims.get(name, ())
    axes = _moved(inferred, moves, sizes) if len(sizes) in (3, 4) and None not in sizes else None
    if not axes or len(moves) > _MOST_MOVES:
        return None
    axis = attribute(softmax, "axis", -1) % len(axes)
    bins = axes[axis][0] if len(axes[axis]) == 1 else Part(0, 0, 0)
    channels = sizes[_CHANNELS] or 0
    if (bins.axis, bins.stride) != (_CHANNELS, 1) or channels % bins.size:
        return None
    end = _sum(graph, softmax, axis, bins.size, len(axes))
    sources = None if end is None else planes_of(graph, inferred, name, 0, channels)
    if end is None or sources is None:
        return None
    nodes, weights = end
    places = int(np.prod([size or 0 for size in sizes[2:]]))
    groups, batch = channels // bins.size, sizes[0] or 0
    order = axis_parts.order_of(_without(axes, axis, bins.size), (batch, groups, places))
    dims = inferred.dims.get(nodes[-1].output[0], (None,))
    known = tuple(size for size in dims if size is not None)
    if order is None or len(known) < len(dims):
        return None
    return _Mean((softmax, *nodes), tuple(moves), tuple(sources), weights, groups, tuple(order), known)


def _moved(inferred: Inferred, moves: Sequence[NodeProto], sizes: Sequence[int | None]) -> Axes | None:
    """The axes [N, C, P] of a tensor behind reshapes and transpositions. sizes: of [N, C, P] or [N, C, H, W]."""
    known = [size or 0 for size in sizes]
    places = int(np.prod(known[2:]))
    axes = axis_parts.reshaped(axis_parts.whole((*known[:2], places)), known)
    for node in moves:
        if axes is None:
            return None
        if node.op_type == "Transpose":
            order = list(attribute(node, "perm", range(len(axes))[::-1]))
            axes = [axes[axis] for axis in order] if sorted(order) == list(range(len(axes))) else None
        else:
            made = inferred.dims.get(node.output[0], (None,))
            axes = None if None in made else axis_parts.reshaped(axes, [size or 0 for size in made])
    return axes


def _without(axes: Axes, axis: int, bins: int) -> Axes:
    """What is left of the axes when the bins are summed up: channels count groups."""
    left = [parts for place, parts in enumerate(axes) if place != axis]
    return [
        [Part(p.axis, p.stride // bins if p.axis == _CHANNELS else p.stride, p.size) for p in parts] for parts in left
    ]


def _sum(graph: MainGraph, softmax: NodeProto, axis: int, bins: int, rank: int) -> tuple[list[NodeProto], Array] | None:
    """The nodes that sum what a Softmax makes, times fixed numbers of each bin, and these [B]."""
    reader = graph.only_reader(softmax.output[0])
    if reader is None:
        return None
    if standard(reader, "Conv"):
        weights = weights_of_mean(graph, reader, softmax) if axis == 1 and rank == len("NBGP") else None
        return None if weights is None or weights.size != bins else ([reader], weights)
    if standard(reader, "MatMul") and reader.input[0] == softmax.output[0] and axis == rank - 1:
        weights = graph.floats(reader.input[1])
        fits = weights is not None and weights.shape in ((bins,), (bins, 1))
        return ([reader], weights.reshape(-1)) if fits and weights is not None else None
    return _product_and_sum(graph, softmax, reader, axis, rank) if standard(reader, "Mul") else None


def _product_and_sum(
    graph: MainGraph, softmax: NodeProto, product: NodeProto, axis: int, rank: int
) -> tuple[list[NodeProto], Array] | None:
    other = product.input[1] if product.input[0] == softmax.output[0] else product.input[0]
    weights, total = graph.floats(other), graph.only_reader(product.output[0])
    if weights is None or total is None or not standard(total, "ReduceSum") or weights.ndim > rank:
        return None
    named = graph.tensor(total.input[1]) if len(total.input) > 1 else None
    axes = [] if named is None else array_of(named).reshape(-1).tolist()
    along = (*[1] * (rank - weights.ndim), *weights.shape)
    fits = [one % rank for one in axes] == [axis] and along[axis] == weights.size
    return ([product, total], weights.reshape(-1)) if fits else None


@dataclass
class _Writer:
    """Puts new nodes in the place of old ones. instead: by the id of the node whose place they take."""

    graph: MainGraph
    inferred: Inferred
    instead: dict[int, list[NodeProto]] = field(default_factory=dict)
    loose: set[int] = field(default_factory=set)

    def write(self, mean: _Mean) -> None:
        graph, end = self.graph, mean.nodes[-1]
        made, flat = end.output[0], [graph.fresh(f"{end.output[0]}.level{i}") for i in range(len(mean.sources))]
        bins = graph.add(f"{made}.bins", mean.bins.reshape(-1, 1).astype(np.float32))
        nodes = [
            node
            for source, name in zip(mean.sources, flat, strict=True)
            for node in self._level(mean, source, bins, name)
        ]
        joined = flat[0]
        if len(flat) > 1:
            joined = graph.fresh(f"{made}.levels")
            nodes.append(helper.make_node("Concat", flat, [joined], joined, axis=2))
        if mean.order != (0, 1, 2):
            moved = graph.fresh(f"{made}.moved")
            nodes.append(helper.make_node("Transpose", [joined], [moved], moved, perm=mean.order))
            joined = moved
        dims = graph.add(f"{made}.dims", np.array(mean.dims, np.int64))
        nodes.append(helper.make_node("Reshape", [joined, dims], [made], f"{made}.joined"))
        self.instead[id(end)] = nodes
        self.loose |= {id(node) for node in (*mean.nodes, *mean.moves)}
        for source in mean.sources:
            self.loose |= {id(node) for node in source.behind}
            for node in source.behind:
                if standard(node, "Split") and id(node) not in self.instead:
                    self._part(node)

    def _level(self, mean: _Mean, source: Source, bins: str, made: str) -> list[NodeProto]:
        graph, nodes, name = self.graph, [], source.plane
        if source.part is not None:
            numbers = [
                graph.add(f"{made}.{what}", np.array([one]))
                for what, one in zip(("from", "to"), source.part, strict=True)
            ]
            axis, name = graph.add(f"{made}.axis", np.array([_CHANNELS])), graph.fresh(f"{made}.part")
            nodes.append(helper.make_node("Slice", [source.plane, *numbers, axis], [name], name))
        split = graph.add(f"{made}.split", np.array([0, 0, -1, mean.bins.size]))
        back = graph.add(f"{made}.back", np.array([0, 0, -1, mean.groups]))
        steps: list[tuple[list[str], dict[str, Any]]] = [
            ([], {"perm": [0, 2, 3, 1]}),
            ([split], {}),
            ([], {"axis": -1}),
            ([bins], {}),
            ([back], {}),
            ([], {"perm": [0, 3, 1, 2]}),
        ]
        for number, (op_type, (others, attributes)) in enumerate(zip(FORM, steps, strict=True)):
            output = graph.fresh(f"{made}.{number}")
            nodes.append(helper.make_node(op_type, [name, *others], [output], output, **attributes))
            name = output
        flat = graph.add(f"{made}.flat", np.array([0, mean.groups, -1]))
        return [*nodes, helper.make_node("Reshape", [name, flat], [made], made)]

    def _part(self, split: NodeProto) -> None:
        """Make what a Split cuts out of what was joined for it of the parts themselves."""
        graph, nodes = self.graph, list[NodeProto]()
        for made in split.output:
            channels = self.inferred.dims[made][_CHANNELS] or 0
            sources = planes_of(graph, self.inferred, made, 0, channels)
            if sources is None or any(source.part is not None for source in sources):
                return
            several = len(sources) > 1
            names = [graph.fresh(f"{made}.level{i}") for i in range(len(sources))] if several else [made]
            dims = graph.add(f"{made}.flat", np.array([0, channels, -1]))
            nodes += [
                helper.make_node("Reshape", [source.plane, dims], [name], name)
                for source, name in zip(sources, names, strict=True)
            ]
            if several:
                nodes.append(helper.make_node("Concat", names, [made], made, axis=2))
        self.instead[id(split)] = nodes

    def nodes(self) -> list[NodeProto]:
        """All nodes, without those that nothing reads any more."""
        placed = [(one, id(node)) for node in self.graph.nodes for one in self.instead.get(id(node), [node])]
        read, kept = set(self.graph.kept), list[NodeProto]()
        replaced = {name for nodes in self.instead.values() for node in nodes for name in node.output}
        for node, place in reversed(placed):
            loose = place in self.loose or place in self.instead or not replaced.isdisjoint(node.output)
            if loose and read.isdisjoint(node.output):
                continue
            kept.append(node)
            read.update(node.input)
        return kept[::-1]
