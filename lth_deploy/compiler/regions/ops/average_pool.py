"""Means over windows."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.shape_rules import rounded_up, window_shape
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext, window_of
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp
from lth_deploy.compiler.regions.writer import FusedOp, ProgramWriter
from lth_deploy.kernels.program.ops.average_pool import AveragePool, QAveragePool
from lth_deploy.kernels.program.values import Pads

QAVERAGE_POOL = Kind("qaveragepool", ends_region=False)
AVERAGE_POOL = Kind("averagepool", ends_region=False, quantized_form=QAVERAGE_POOL)


def _match(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    kernel = tuple(attribute(node, "kernel_shape", []))
    require(len(kernel) == 2, f"a pool of {len(kernel)} dimensions")
    context.require_plane(node.input[0])
    given = require(_pads(node), "its padding depends on the size (auto_pad)")
    pads = require(rounded_up(node, context.shape(node.input[0])[2:], given), "a pool that rounds its size up")
    # Whether the pixels beyond count, runtimes do not agree.
    require(pads == given or not _includes_pads(node), "a pool that rounds its size up, and counts its padding")
    window = window_of(node, kernel, pads)
    # A window could lie in the padding alone: runtimes do not agree what its mean is.
    counted = _includes_pads(node) or window.dilation == (1, 1) or not any(pads)
    require(counted, "its windows may have no pixel (dilation and pads without count_include_pad)")
    return RegionOp(AVERAGE_POOL, place, (node,), (node.input[0],), (node.output[0],), window=window)


def _includes_pads(node: NodeProto) -> bool:
    return bool(attribute(node, "count_include_pad", 0))


def _pads(node: NodeProto) -> Pads | None:
    """Top, left, bottom and right, where they do not depend on the size of the input."""
    automatic = attribute(node, "auto_pad", "NOTSET")
    if automatic == "NOTSET":
        top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
        return top, left, bottom, right
    if automatic == "VALID":
        return 0, 0, 0, 0
    if attribute(node, "strides", [1, 1]) != [1, 1]:
        return None
    kernel, dilation = attribute(node, "kernel_shape", []), attribute(node, "dilations", [1, 1])
    height, width = ((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
    if automatic == "SAME_UPPER":
        return height // 2, width // 2, height - height // 2, width - width // 2
    return height - height // 2, width - width // 2, height // 2, width // 2


def _shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    kernel = attribute(node, "kernel_shape", [])
    given = _pads(node) if len(kernel) == 2 else None
    if given is None:
        return None
    x = info.planes(node.input[0])
    pads = rounded_up(node, x[2:], given) if len(x) == 4 else None
    return None if pads is None else [(*x[:2], *window_shape(node, x[2:], kernel, pads))]


def _emit(fused: FusedOp, writer: ProgramWriter) -> None:
    (node,) = (node for node in fused.op.nodes if node.op_type == "AveragePool")
    x = writer.tensor(fused.op.inputs[0])
    if fused.op.kind is AVERAGE_POOL:
        writer.add(AveragePool(x, fused.op.window, _includes_pads(node)), fused.output)
    else:
        step = QAveragePool(x, fused.op.window, _includes_pads(node), fused.required_out())
        writer.add(step, fused.output, fused.out)


OPERATOR = RegionOperator(
    emits={AVERAGE_POOL: _emit, QAVERAGE_POOL: _emit},
    matches={"AveragePool": _match},
    shapes={"AveragePool": _shape},
    dequantized=("AveragePool",),
)
