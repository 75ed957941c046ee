"""The mean of bins under a softmax over groups of channels (DFL), as import writes it (`importing/plain/bins.py`)."""

from onnx import NodeProto

from lth_deploy.compiler.importing.plain.bins import FORM
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.bin_mean import BinMean

BIN_MEAN = Kind("binmean", pays=True)

_OTHER = "it is no mean of bins"


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    nodes = [node]
    for _ in FORM[1:]:
        require(len(nodes[0].input) > 0, _OTHER)  # a node that makes values of nothing
        made = require(context.producer(nodes[0].input[0]), _OTHER)
        require(context.uses.only(nodes[0].input[0]), _OTHER)
        nodes.insert(0, made)
    require(tuple(one.op_type for one in nodes) == FORM, _OTHER)
    planes, split, softmax, product, joined, back = nodes
    orders = [list(attribute(one, "perm", [])) for one in (planes, back)]
    require(orders == [[0, 2, 3, 1], [0, 3, 1, 2]] and attribute(softmax, "axis", -1) in (-1, 3), _OTHER)
    source, weight = planes.input[0], product.input[1]
    context.require_plane(source)
    obstacle = context.weights.obstacle(weight)
    require(obstacle is None, str(obstacle))
    dims = context.weights.stored[weight].shape
    require(len(dims) == 2 and dims[1] == 1, f"'{weight}' does not have one column")
    channels = context.shape(source)[1].known or 0
    groups = channels // dims[0]
    require(groups * dims[0] == channels, f"{channels} channels are no whole groups of {dims[0]} bins")
    for one, last in ((split, dims[0]), (joined, groups)):
        target = context.info.known_values(one.input[1])
        require(target == (0, 0, -1, last) and not attribute(one, "allowzero", 0), _OTHER)
    return RegionOp(
        BIN_MEAN, place, tuple(nodes), (source,), (back.output[0],), channel_values=(weight,), groups=groups
    )


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    op = fused.op
    writer.add(BinMean(writer.tensor(op.inputs[0]), writer.weight(op.channel_values[0]), op.groups), fused.output)


OPERATOR = RegionOperator(emits={BIN_MEAN: _emit}, matches={"Transpose": _match})
