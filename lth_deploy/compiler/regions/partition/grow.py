"""Which ops become a region together: connected, and with nothing between them that is left outside."""

from collections.abc import Callable, Container, Iterable, Sequence

from onnx import GraphProto

from lth_deploy.compiler.model.traverse import read_by
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE, QUANTIZE, RegionOp
from lth_deploy.compiler.regions.partition.cycles import returning

Judge = Callable[[RegionOp], bool]
"""Whether a layer with a weight is worth a sparse kernel."""


def grow(graph: GraphProto, ops: Sequence[RegionOp], info: TensorInfo, pays: Judge) -> list[list[RegionOp]]:
    """The regions of a graph, each in graph order.

    A region is connected, but for parts that share a weight. It starts at layers with weights and holds at least
    one that pays. Layers that do not pay are left out where a region begins or ends, and stay in where they connect
    others: a cut costs more than their kernel. No quantized tensor leaves or enters a region: of a group that would
    read or make one across a boundary only the conversions are left. Regions do not depend on each other in a cycle.
    """
    chosen = list(ops)
    later: set[int] = set()
    while True:
        pieces = [(level, piece) for level, part in _parts(graph, chosen, later) for piece in _trimmed(part, pays)]
        regions = _sharing(pieces, info)
        blocked = {op.place for region in regions for op in _without_plane(region, info)}
        blocked |= _crossing(regions, chosen)
        if not blocked:
            # What a part gives to nodes outside may come back to it only once its ends are known.
            back = returning(graph, regions) - later
            if not back:
                return sorted(regions, key=lambda region: region[0].place)
            later |= back
        chosen = [part for op in chosen for part in (op.conversions if op.place in blocked else (op,))]


def _parts(graph: GraphProto, ops: Sequence[RegionOp], later: Container[int]) -> list[tuple[int, list[RegionOp]]]:
    """Connected ops such that no path leaves a part and comes back to it; with their level.

    Every node gets a level: that of its inputs, plus one where a node outside all operators reads one. So a path
    that leaves the ops can only return at a higher level, and ops of one level have nothing between them.

    later: places of ops that get a higher level than what they read, since nodes outside make some of it.
    """
    at = {op.place: op for op in ops}
    level: dict[str, int] = {}
    made_by: dict[str, RegionOp] = {}
    parent: dict[int, int] = {op.place: op.place for op in ops}

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    levels: dict[int, int] = {}
    for place, node in enumerate(graph.node):
        op = at.get(place)
        if op is None:
            own = max((level.get(name, 0) + (name in made_by) for name in read_by(node)), default=0)
            level.update((name, own) for name in node.output)
            continue
        own = max((level.get(name, 0) for name in op.inputs), default=0) + (place in later)
        levels[place] = own
        level.update((name, own) for name in op.outputs)
        made_by.update((name, op) for name in op.outputs)
        for name in op.inputs:
            before = made_by.get(name)
            if before is not None and levels[before.place] == own:
                parent[root(before.place)] = root(place)
    groups: dict[int, list[RegionOp]] = {}
    for op in ops:
        groups.setdefault(root(op.place), []).append(op)
    return [(levels[group[0].place], group) for group in groups.values()]


def _sharing(pieces: Sequence[tuple[int, list[RegionOp]]], info: TensorInfo) -> list[list[RegionOp]]:
    """Pieces of one level that share a weight become one region: a stock runtime then decodes it once.

    Nothing leads from a piece to another of its level, so that they may be computed together. All rows of a region are
    as many.
    """
    groups: list[tuple[int, set[str | None], list[RegionOp]]] = []
    for level, piece in pieces:
        weights, members = {op.weight for op in piece} - {None}, piece
        rest = []
        for group in groups:
            fits = group[0] == level and group[1] & weights
            if fits and len(_row_counts([*members, *group[2]], info)) <= 1:
                weights, members = weights | group[1], group[2] + members
            else:
                rest.append(group)
        groups = [*rest, (level, weights, members)]
    return [sorted(members, key=lambda op: op.place) for _, _, members in groups]


def _row_counts(ops: Iterable[RegionOp], info: TensorInfo) -> set[Shape]:
    """The sizes before the features of all rows."""
    return {info.shapes[name][:-1] for op in ops if op.rows for name in op.inputs}


def _trimmed(part: list[RegionOp], pays: Judge) -> Iterable[list[RegionOp]]:
    """The part without the ops at its ends that do not pay, cut into connected pieces that do.

    A QuantizeLinear is there for its readers: it begins a region, and goes where they go.
    """
    conversions = {op.outputs[0]: op for op in part if op.kind is QUANTIZE}
    kept = [op for op in part if op.kind is not QUANTIZE]

    def read_of(op: RegionOp) -> set[str]:
        return {conversions[name].inputs[0] if name in conversions else name for name in op.inputs}

    while True:
        made = {name for op in kept for name in op.outputs}
        read = {name for op in kept for name in read_of(op)}
        paid_for = _made_by_paying_layers(kept, pays)
        read_by_paying = {name for op in kept if op.kind.has_weight and pays(op) for name in read_of(op)}
        inner = []
        for op in kept:
            first, last = not made & read_of(op), not read & set(op.outputs)
            stays = op.kind.has_weight or op.kind.begins_region or not first
            stays = stays and not (last and not op.kind.ends_region)
            pays_for_it = op.outputs[0] in (read_by_paying if op.kind.begins_region else paid_for)
            if stays and (not (first or last) or pays_for_it):
                inner.append(op)
        if len(inner) == len(kept):
            break
        kept = inner
    wanted = {name for op in kept for name in op.inputs} & conversions.keys()
    inside = {op.place for op in kept}
    # Readers of the same quantized tensor outside get floats.
    dequantized = [op for op in part if op.kind is DEQUANTIZE and op.inputs[0] in wanted]
    kept += [*(conversions[name] for name in wanted), *(op for op in dequantized if op.place not in inside)]
    ordered = sorted(kept, key=lambda op: op.place)
    return [piece for piece in _connected(ordered) if any(op.kind.has_weight and pays(op) for op in piece)]


def _crossing(regions: Sequence[Sequence[RegionOp]], ops: Sequence[RegionOp]) -> set[int]:
    """Places of groups through which a quantized tensor would cross the boundary of a region."""
    region_of = {op.place: number for number, region in enumerate(regions) for op in region}
    makers = {name: op for op in ops if op.out is not None for name in op.outputs}
    found = set()
    for op in ops:
        for name in op.inputs:
            maker = makers.get(name)
            if maker is None or region_of.get(op.place) == region_of.get(maker.place):
                continue
            # One of them falls apart: its conversion then belongs to the region of the other.
            outside = maker.place not in region_of and bool(maker.conversions)
            found.add(maker.place if outside or not op.conversions else op.place)
    return {place for place in found if any(op.place == place and op.conversions for op in ops)}


def _made_by_paying_layers(ops: Sequence[RegionOp], pays: Judge) -> set[str]:
    """What layers and other operators that pay make, and what is made of it without another layer between."""
    paid_for: set[str] = set()
    for op in ops:
        if pays(op) if op.kind.has_weight else op.kind.pays or paid_for & set(op.inputs):
            paid_for.update(op.outputs)
    return paid_for


def _connected(ops: list[RegionOp]) -> list[list[RegionOp]]:
    groups: list[tuple[set[str], list[RegionOp]]] = []
    for op in ops:
        names, members = set(op.outputs), [op]
        rest = []
        for made, others in groups:
            if made & set(op.inputs):
                names |= made
                members = others + members
            else:
                rest.append((made, others))
        groups = [*rest, (names, members)]
    return [sorted(members, key=lambda op: op.place) for _, members in groups]


def _without_plane(region: list[RegionOp], info: TensorInfo) -> list[RegionOp]:
    """Resizes to a plane that no earlier tensor of the region has."""
    return [op for op in region if op.kind.takes_plane and not same_plane_tensors(op, region, info)]


def same_plane_tensors(op: RegionOp, region: Sequence[RegionOp], info: TensorInfo) -> list[str]:
    """Tensors of a region that are there before a resize and have the plane that it makes."""
    wanted = _plane_of(info, op.outputs[0])
    earlier = [other for other in region if other.place < op.place]
    made = {name for other in region for name in other.outputs}
    loaded = [name for other in region for name in other.inputs if name not in made]
    names = dict.fromkeys([*loaded, *(name for other in earlier for name in other.outputs)])
    return [name for name in names if _plane_of(info, name) == wanted]


def _plane_of(info: TensorInfo, name: str) -> tuple[object, ...] | None:
    shape = info.shapes.get(name)
    return None if shape is None or len(shape) != 4 else info.simplest((shape[0], *shape[2:]))
