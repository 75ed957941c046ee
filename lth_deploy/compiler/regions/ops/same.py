"""Nodes whose output is their input; they have no instruction."""

from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.regions.analysis.shape_rules import elementwise_shape
from lth_deploy.compiler.regions.analysis.tensor_info import Shape, TensorInfo
from lth_deploy.compiler.regions.entry import RegionOperator
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import require
from lth_deploy.compiler.regions.match.qdq import is_float_barrier
from lth_deploy.compiler.regions.match.region_op import Kind, RegionOp

SAME = Kind("same", ends_region=False, renames=True)


def match_same(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    """A node that is known to change nothing."""
    rank = context.rank(node.input[0])
    require(len(node.output) == 1 or not any(node.output[1:]), "it returns a mask")
    return RegionOp(SAME, place, (node,), (node.input[0],), (node.output[0],), rows=rank == 2)


def _match_flatten(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    flat = context.rank(node.input[0]) == 2 and attribute(node, "axis", 1) in (1, -1)
    require(flat, "it changes the rank")
    return match_same(context, place, node)


def _match_max(context: MatchContext, place: int, node: NodeProto) -> RegionOp:
    require(is_float_barrier(node, context.info), "no instruction")
    return match_same(context, place, node)


def _flatten_shape(info: TensorInfo, node: NodeProto) -> list[Shape] | None:
    x = info.shapes.get(node.input[0])
    return [x] if x is not None and len(x) == 2 and attribute(node, "axis", 1) in (1, -1) else None


OPERATOR = RegionOperator(
    emits={},
    matches={"Identity": match_same, "Dropout": match_same, "Flatten": _match_flatten, "Max": _match_max},
    shapes={"Flatten": _flatten_shape, "Max": elementwise_shape},
)
