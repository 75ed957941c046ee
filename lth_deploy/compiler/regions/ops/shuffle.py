"""Channel shuffle: Reshape, Transpose and Reshape, as exporters write it."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import Dim, of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.shuffle import Shuffle

SHUFFLE = Kind("shuffle")

_REST, _COPIED = of(-1), of(0)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    moved = _before(context, node, "Transpose")
    split = _before(context, moved, "Reshape")
    source = split.input[0]
    context.require_plane(source)
    x = context.shape(source)
    grouped = context.info.values.get(split.input[1], ())
    require(attribute(moved, "perm", []) == [0, 2, 1, 3, 4] and len(grouped) == 5, "it does not swap two dimensions")
    groups, of_group, channels = grouped[1].known, grouped[2].known, x[1].known
    assert channels is not None
    groups = channels // of_group if groups == -1 and of_group else groups
    of_group = channels // groups if of_group == -1 and groups else of_group
    fits = groups is not None and of_group is not None and groups > 1 and groups * of_group == channels
    require(fits and _is(grouped, (x[0], of(groups or 0), of(of_group or 0), *x[2:])), "it does not split channels")
    back = context.info.values.get(node.input[1], ())
    require(_is(back, x), "it does not join the channels again")
    return RegionOp(SHUFFLE, place, (split, moved, node), (source,), (node.output[0],), groups=groups or 0)


def _before(context: MatchContext, node: NodeProto, op_type: str) -> NodeProto:
    """The node of this kind that alone makes what alone this node reads."""
    made = context.producer(node.input[0])
    made = require(made, "it is no channel shuffle")
    fits = made.op_type == op_type and context.uses.only(node.input[0]) and not attribute(made, "allowzero", 0)
    require(fits, "it is no channel shuffle")
    return made


def _is(target: tuple[Dim, ...], shape: Shape) -> bool:
    """Whether the second input of a Reshape stands for a shape, of which -1 may be one size and 0 the first."""
    if len(target) != len(shape) or sum(size == _REST for size in target) > 1:
        return False
    first = target[0] in (shape[0], _REST, _COPIED)
    return first and all(a in (b, _REST) for a, b in zip(target[1:], shape[1:], strict=True))


def _reshaped(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x, target = info.shapes.get(node.input[0]), info.values.get(node.input[1])
    if x is None or target is None or attribute(node, "allowzero", 0):
        return None
    made = [x[i] if size == _COPIED and i < len(x) else size for i, size in enumerate(target)]
    if _REST not in made:
        return [tuple(made)]
    given, wanted = list(x), [size for size in made if size != _REST]
    for size in [*wanted]:
        if size in given:
            given.remove(size)
            wanted.remove(size)
    numbers = [size.known for size in wanted]
    product = 1
    for number in numbers:
        product *= number or 0
    whole = _product(given)
    if not product or whole is None or (whole // product) * product != whole:
        return None
    return [tuple(whole // product if size == _REST else size for size in made)]


def _product(sizes: list[Dim]) -> Dim | None:
    """Of sizes of which all but one are known."""
    whole = of(1)
    for size in sizes:
        if size.known is not None:
            whole = whole * size.known
        elif whole.known is not None:
            whole = size * whole.known
        else:
            return None
    return whole


def _transposed(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.shapes.get(node.input[0])
    if x is None:
        return None
    order = attribute(node, "perm", list(range(len(x)))[::-1])
    return [tuple(x[axis] for axis in order)] if sorted(order) == list(range(len(x))) else None


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    writer.add(Shuffle(writer.tensor(fused.op.inputs[0]), fused.op.groups), fused.output)


OPERATOR = RegionOperator(
    emits={SHUFFLE: _emit},
    matches={"Reshape": _match},
    shapes={"Reshape": _reshaped, "Transpose": _transposed},
)
