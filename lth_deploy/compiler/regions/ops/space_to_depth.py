"""The pixels of each block as channels: SpaceToDepth, and the Slices and the Concat of a Focus stem."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.space_to_depth import MAX_BLOCK, SpaceToDepth

SPACE_TO_DEPTH = Kind("spacetodepth", ends_region=False, begins_region=True)

Place = tuple[int, int]
"""Row and column in a block."""


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    context.require_plane(node.input[0])
    block = attribute(node, "blocksize", 0)
    require(2 <= block <= MAX_BLOCK, f"blocks of {block} pixels")
    order = ("rows", block)
    return RegionOp(SPACE_TO_DEPTH, place, (node,), (node.input[0],), (node.output[0],), blocks=order)


def match_focus(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """A Concat of the channels of strided slices of one tensor, one for each pixel of a block."""
    block = round(len(node.input) ** 0.5)
    if block**2 != len(node.input) or not 2 <= block <= MAX_BLOCK:
        return None
    nodes: list[NodeProto] = []
    places: list[Place] = []
    sources = set()
    for name in node.input:
        found = _phase(context, name, block)
        if found is None:
            return None
        source, at, made = found
        sources.add(source)
        places.append(at)
        nodes.extend(one for one in made if one not in nodes)
    rows = [(row, column) for row in range(block) for column in range(block)]
    orders = {"rows": rows, "columns": [(row, column) for column, row in rows]}
    order = next((name for name, wanted in orders.items() if wanted == places), None)
    axis = attribute(node, "axis", 0)
    if len(sources) != 1 or order is None or axis not in (1, -3):
        return None
    (source,) = sources
    shape = context.info.shapes.get(source)
    # A last block that is cut off would make slices of several sizes.
    whole = shape is not None and len(shape) == 4 and all((size // block) * block == size for size in shape[2:])
    if not whole or not _made_alone(context, nodes, node):
        return None
    context.require_plane(source)
    ordered = sorted(nodes, key=lambda made: context.producers[made.output[0]][0])
    blocks = (order, block)
    return RegionOp(SPACE_TO_DEPTH, place, (*ordered, node), (source,), (node.output[0],), blocks=blocks)


def _made_alone(context: MatchContext, nodes: list[NodeProto], last: NodeProto) -> bool:
    """Whether nothing but these nodes reads what they make."""
    inside = [*nodes, last]
    for made in nodes:
        readers = [reader for _, reader in context.readers.get(made.output[0], [])]
        if made.output[0] in context.uses.elsewhere or any(reader not in inside for reader in readers):
            return False
    return True


def _phase(context: MatchContext, name: str, block: int) -> tuple[str, Place, list[NodeProto]] | None:
    """The tensor of which another one is every block-th row and column, from which place on, and the Slices."""
    starts: dict[int, int] = {}
    nodes: list[NodeProto] = []
    while len(starts) < 2:
        node = context.producer(name)
        taken = _taken(context.info, node, block) if node is not None and node.op_type == "Slice" else None
        if node is None or taken is None or starts.keys() & taken.keys():
            return None
        starts.update(taken)
        nodes.append(node)
        name = node.input[0]
    return name, (starts[2], starts[3]), nodes


def _taken(info: TensorInfo, node: NodeProto, block: int) -> dict[int, int] | None:
    """The first index by axis of a Slice that takes every block-th one to the end."""
    found = [info.known_values(name) for name in node.input[1:]]
    if len(found) != 4 or any(values is None for values in found):
        return None
    firsts, ends, axes, steps = (values or () for values in found)
    if not len(firsts) == len(ends) == len(axes) == len(steps):
        return None
    sizes = info.shapes.get(node.input[0], ())
    taken: dict[int, int] = {}
    for first, end, axis, step in zip(firsts, ends, axes, steps, strict=True):
        known = sizes[axis].known if len(sizes) == 4 and axis in (2, 3) else None
        to_the_end = end >= 2**31 - 1 or (known is not None and end >= known)
        if axis not in (2, 3) or step != block or not 0 <= first < block or not to_the_end or axis in taken:
            return None
        taken[axis] = first
    return taken


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    block = attribute(node, "blocksize", 0)
    if block < 1:
        return None
    x = info.planes(node.input[0])
    return [(x[0], x[1] * block**2, *(size // block for size in x[2:]))] if len(x) == 4 else None


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    order, block = fused.op.blocks
    writer.add(SpaceToDepth(writer.tensor(fused.op.inputs[0]), block, order), fused.output)


OPERATOR = RegionOperator(
    emits={SPACE_TO_DEPTH: _emit}, matches={"SpaceToDepth": _match}, shapes={"SpaceToDepth": _shape}
)
