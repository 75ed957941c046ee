"""The mean of each channel: GlobalAveragePool, and ReduceMean over the plane."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.symbolic_dims import of
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.global_average_pool import GlobalAveragePool, QGlobalAveragePool

QGLOBAL_AVERAGE_POOL = Kind("qglobalaveragepool", of_argument=True)
GLOBAL_AVERAGE_POOL = Kind("globalaveragepool", activated_form=QGLOBAL_AVERAGE_POOL)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    context.require_plane(node.input[0])
    over_plane = node.op_type == "GlobalAveragePool" or _is_over_plane(context.info, node)
    require(over_plane, "it is no mean over planes that stays a plane")
    return RegionOp(GLOBAL_AVERAGE_POOL, place, (node,), (node.input[0],), (node.output[0],))


def _is_over_plane(info: TensorInfo, node: NodeProto) -> bool:
    """Whether a ReduceMean of rank 4 takes rows and columns, and keeps both dimensions."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        constant = info.constant(node.input[1])
        axes = None if constant is None else constant.reshape(-1).tolist()
    kept = attribute(node, "keepdims", 1) == 1
    return axes is not None and kept and sorted(int(axis) % 4 for axis in axes) == [2, 3]


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.planes(node.input[0])
    return [(*x[:2], of(1), of(1))] if len(x) == 4 else None


def _reduced_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.shapes.get(node.input[0])
    return [(*x[:2], of(1), of(1))] if x is not None and len(x) == 4 and _is_over_plane(info, node) else None


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    writer.add(GlobalAveragePool(writer.tensor(fused.op.inputs[0])), fused.output)


def _emit_quantized(fused: FusedOp, writer: ProgramWriter) -> None:
    step = QGlobalAveragePool(writer.tensor(fused.op.inputs[0]), fused.op.act, fused.required_out())
    writer.add(step, fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={GLOBAL_AVERAGE_POOL: _emit, QGLOBAL_AVERAGE_POOL: _emit_quantized},
    matches={"GlobalAveragePool": _match, "ReduceMean": _match},
    shapes={"GlobalAveragePool": _shape, "ReduceMean": _reduced_shape},
)
