"""Which nodes of a model are operators of regions, and why the other layers are none."""

from collections import Counter
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto

from lth_deploy.compiler.artifact.packed_weight import StoredWeight, stored_weights
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.regions.analysis.infer_shapes import infer
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.analysis.token_shapes import token_shapes
from lth_deploy.compiler.regions.match.context import MatchContext
from lth_deploy.compiler.regions.match.no_match import NoMatch
from lth_deploy.compiler.regions.match.qdq import rejoined, separated
from lth_deploy.compiler.regions.match.qdq_groups import conversion, group
from lth_deploy.compiler.regions.match.quantize_early import quantize_early
from lth_deploy.compiler.regions.match.region_op import CONVERSIONS, RegionOp, Uses, Weights
from lth_deploy.compiler.regions.operators import DEQUANTIZED, MATCHES, SHAPE_RULES


@dataclass(frozen=True)
class ClassifiedModel:
    """A packed model with what regions can be made of.

    model: with conversions as regions need them. stored, info: its weights and what is known of its tensors. ops: in
    graph order. reasons: why layers are none, by the name of the weight.
    """

    model: ModelProto
    stored: dict[str, StoredWeight]
    info: TensorInfo
    ops: list[RegionOp]
    reasons: dict[str, str]


def classified(model: ModelProto) -> ClassifiedModel:
    """The operators of a packed model; the model itself does not change.

    Raises:
        ArtifactError: a stored weight is damaged.
    """
    model = separated(model, ())
    stored = stored_weights(model)
    model = separated(quantize_early(model, _context(model, stored), _matched), DEQUANTIZED)
    found = _classified(model, stored)
    joined = rejoined(model, found.ops)
    return found if joined is None else _classified(joined, stored)


def _classified(model: ModelProto, stored: dict[str, StoredWeight]) -> ClassifiedModel:
    context = _context(model, stored)
    return ClassifiedModel(model, stored, context.info, *_operators(model.graph, context))


def _context(model: ModelProto, stored: dict[str, StoredWeight]) -> MatchContext:
    weights = {name: weight.shape for name, weight in stored.items()}
    info = infer(model.graph, weights, SHAPE_RULES, token_shapes(model, stored))
    overridable = frozenset(value.name for value in model.graph.input) if model.ir_version >= 4 else frozenset()
    return MatchContext(model.graph, info, Weights(stored, overridable), _uses_of(model.graph))


def _operators(graph: GraphProto, context: MatchContext) -> tuple[list[RegionOp], dict[str, str]]:
    ops: list[RegionOp] = []
    reasons: dict[str, str] = {}
    grouped: set[int] = set()
    for place, node in enumerate(graph.node):
        if node.domain not in STANDARD_DOMAINS or place in grouped:
            continue
        try:
            op = _matched(context, place, node)
            whole = None if op is None else group(context, op)
        except NoMatch as no_match:
            if traits_of(node.op_type).float_layer:
                reasons.setdefault(context.weight_name(node), str(no_match))
            continue
        if whole is not None:
            grouped.update(context.producers[member.output[0]][0] for member in whole.nodes)
        if op is not None:
            ops.append(whole or op)
    inner = {context.producers[member.output[0]][0] for op in ops for member in op.nodes[:-1]}
    return sorted((op for op in ops if op.place not in inner), key=lambda op: op.place), reasons


def _matched(context: MatchContext, place: int, node: NodeProto) -> RegionOp | None:
    """The operator that ends in a node; None for a node that is inside another one or has no instruction.

    Raises:
        NoMatch: it has no instruction, and why.
    """
    if node.op_type in CONVERSIONS:
        return conversion(context, place, node)
    rule = MATCHES.get(node.op_type)
    return None if rule is None else rule(context, place, node)


def _uses_of(graph: GraphProto) -> Uses:
    """How often each tensor of the main graph is read, and which are returned or read in inner graphs."""
    nodes = Counter(name for node in graph.node for name in node.input if name)
    elsewhere = {value.name for value in graph.output}
    for inner in list(all_graphs(graph))[1:]:
        elsewhere.update(name for node in inner.node for name in node.input)
        elsewhere.update(value.name for value in inner.output)
    return Uses(nodes, frozenset(elsewhere))
