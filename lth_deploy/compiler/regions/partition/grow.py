"""Which units become a region together: connected, and with nothing between them that is left outside."""

from collections.abc import Callable, Iterable, Sequence

from onnx import GraphProto, NodeProto

from lth_deploy.compiler.model.traverse import all_graphs, inner_graphs
from lth_deploy.compiler.regions.analysis.tensor_info import Shapes
from lth_deploy.compiler.regions.match.region_op import HEAVY, Unit

Judge = Callable[[Unit], bool]
"""Whether a layer with a weight is worth a sparse kernel."""

_STAYS_OUT_LAST = ("same", "resize", "maxpool")
"""Kinds that no region ends with: what they make is as large or larger, or as cheap outside."""


def grow(graph: GraphProto, units: Sequence[Unit], shapes: Shapes, pays: Judge) -> list[list[Unit]]:
    """The regions of a graph, each in graph order.

    A region is connected, but for parts that share a weight. It starts at layers with weights and holds at least
    one that pays. Layers that do not pay are left out where a region begins or ends, and stay in where they connect
    others: a cut costs more than their kernel. No tensor of bytes leaves or enters a region: of a group that would
    read or make one across a border only the conversions are left.
    """
    chosen = list(units)
    while True:
        pieces = [(level, piece) for level, part in _parts(graph, chosen) for piece in _trimmed(part, pays)]
        regions = _sharing(pieces)
        stuck = {unit.place for region in regions for unit in _without_plane(region, shapes)}
        stuck |= _crossing(regions, chosen)
        if not stuck:
            return sorted(regions, key=lambda region: region[0].place)
        chosen = [part for unit in chosen for part in (unit.borders if unit.place in stuck else (unit,))]


def read_by(node: NodeProto) -> set[str]:
    """Every name that a node reads, in the graphs inside it too."""
    names = set(node.input)
    for outer in inner_graphs(node):
        for graph in all_graphs(outer):
            names.update(name for inner in graph.node for name in inner.input)
            names.update(value.name for value in graph.output)
    return names - {""}


def _parts(graph: GraphProto, units: Sequence[Unit]) -> list[tuple[int, list[Unit]]]:
    """Connected units such that no path leaves a part and comes back to it; with their level.

    Every node gets a level: that of its inputs, plus one where a node outside all units reads a unit. So a path
    that leaves the units can only return at a higher level, and units of one level have nothing between them.
    """
    at = {unit.place: unit for unit in units}
    level: dict[str, int] = {}
    made_by: dict[str, Unit] = {}
    parent: dict[int, int] = {unit.place: unit.place for unit in units}

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    levels: dict[int, int] = {}
    for place, node in enumerate(graph.node):
        unit = at.get(place)
        if unit is None:
            own = max((level.get(name, 0) + (name in made_by) for name in read_by(node)), default=0)
            level.update((name, own) for name in node.output)
            continue
        own = max((level.get(name, 0) for name in unit.inputs), default=0)
        levels[place] = own
        level.update((name, own) for name in unit.outputs)
        made_by.update((name, unit) for name in unit.outputs)
        for name in unit.inputs:
            before = made_by.get(name)
            if before is not None and levels[before.place] == own:
                parent[root(before.place)] = root(place)
    groups: dict[int, list[Unit]] = {}
    for unit in units:
        groups.setdefault(root(unit.place), []).append(unit)
    return [(levels[group[0].place], group) for group in groups.values()]


def _sharing(pieces: Sequence[tuple[int, list[Unit]]]) -> list[list[Unit]]:
    """Pieces of one level that share a weight become one region: a stock runtime then decodes it once.

    Nothing leads from a piece to another of its level, so that they may be computed together.
    """
    groups: list[tuple[int, set[str | None], list[Unit]]] = []
    for level, piece in pieces:
        weights, members = {unit.weight for unit in piece} - {None}, piece
        rest = []
        for group in groups:
            if group[0] == level and group[1] & weights:
                weights, members = weights | group[1], group[2] + members
            else:
                rest.append(group)
        groups = [*rest, (level, weights, members)]
    return [sorted(members, key=lambda unit: unit.place) for _, _, members in groups]


def _trimmed(part: list[Unit], pays: Judge) -> Iterable[list[Unit]]:
    """The part without the units at its ends that do not pay, cut into connected pieces that do.

    A conversion to bytes is there for its readers: it begins a region, and goes where they go.
    """
    conversions = {unit.outputs[0]: unit for unit in part if unit.kind == "quantize"}
    kept = [unit for unit in part if unit.kind != "quantize"]

    def read_of(unit: Unit) -> set[str]:
        return {conversions[name].inputs[0] if name in conversions else name for name in unit.inputs}

    while True:
        made = {name for unit in kept for name in unit.outputs}
        read = {name for unit in kept for name in read_of(unit)}
        earned = _earned(kept, pays)
        inner = []
        for unit in kept:
            first, last = not made & read_of(unit), not read & set(unit.outputs)
            stays = unit.kind in HEAVY or not first
            stays = stays and not (last and unit.kind in _STAYS_OUT_LAST)
            if stays and (not (first or last) or unit.outputs[0] in earned):
                inner.append(unit)
        if len(inner) == len(kept):
            break
        kept = inner
    wanted = {name for unit in kept for name in unit.inputs} & conversions.keys()
    inside = {unit.place for unit in kept}
    # Who reads the same bytes outside gets them back as floats.
    back = [unit for unit in part if unit.kind == "dequantize" and unit.inputs[0] in wanted]
    kept += [*(conversions[name] for name in wanted), *(unit for unit in back if unit.place not in inside)]
    ordered = sorted(kept, key=lambda unit: unit.place)
    return [piece for piece in _connected(ordered) if any(unit.kind in HEAVY and pays(unit) for unit in piece)]


def _crossing(regions: Sequence[Sequence[Unit]], units: Sequence[Unit]) -> set[int]:
    """Places of groups through which bytes would cross the border of a region."""
    region_of = {unit.place: number for number, region in enumerate(regions) for unit in region}
    makers = {name: unit for unit in units if unit.out is not None for name in unit.outputs}
    found = set()
    for unit in units:
        for name in unit.inputs:
            maker = makers.get(name)
            if maker is None or region_of.get(unit.place) == region_of.get(maker.place):
                continue
            # One of them falls apart: its conversion then belongs to the region of the other.
            outside = maker.place not in region_of and bool(maker.borders)
            found.add(maker.place if outside or not unit.borders else unit.place)
    return {place for place in found if any(unit.place == place and unit.borders for unit in units)}


def _earned(units: Sequence[Unit], pays: Judge) -> set[str]:
    """What layers that pay make, and what is made of it without another layer between."""
    earned: set[str] = set()
    for unit in units:
        if pays(unit) if unit.kind in HEAVY else earned & set(unit.inputs):
            earned.update(unit.outputs)
    return earned


def _connected(units: list[Unit]) -> list[list[Unit]]:
    groups: list[tuple[set[str], list[Unit]]] = []
    for unit in units:
        names, members = set(unit.outputs), [unit]
        rest = []
        for made, others in groups:
            if made & set(unit.inputs):
                names |= made
                members = others + members
            else:
                rest.append((made, others))
        groups = [*rest, (names, members)]
    return [sorted(members, key=lambda unit: unit.place) for _, members in groups]


def _without_plane(region: list[Unit], shapes: Shapes) -> list[Unit]:
    """Resizes to a plane that no earlier tensor of the region has."""
    return [unit for unit in region if unit.kind == "resize" and not likes(unit, region, shapes)]


def likes(unit: Unit, region: Sequence[Unit], shapes: Shapes) -> list[str]:
    """Tensors of a region that are there before a resize and have the plane that it makes."""
    wanted = shapes.of[unit.outputs[0]]
    earlier = [other for other in region if other.place < unit.place]
    made = {name for other in region for name in other.outputs}
    loaded = [name for other in region for name in other.inputs if name not in made]
    names = dict.fromkeys([*loaded, *(name for other in earlier for name in other.outputs)])
    return [name for name in names if _plane_of(shapes, name) == (wanted[0], *wanted[2:])]


def _plane_of(shapes: Shapes, name: str) -> tuple[object, ...] | None:
    shape = shapes.of.get(name)
    return None if shape is None or len(shape) != 4 else (shape[0], *shape[2:])
