"""Raising a model to the versions of operators and file format that packed files need; it computes the same.

The converter that ONNX comes with is not used: it gives several operators another meaning. Each step of an operator
from one version to the next is in a table here, as an adapter or as known to mean the same; an operator that takes a
step which is not in it is refused by name.
"""

from collections import Counter
from functools import cache

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from lth_deploy.compiler.artifact.domain import MIN_IR_VERSION, MIN_OPSET
from lth_deploy.compiler.importing import adapters, resize
from lth_deploy.compiler.importing.rewrite import Adapter, NotExactError, Rewrite
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.model.traverse import all_nodes, inner_graphs
from lth_deploy.errors import ArtifactError

_SAME = {
    8: "MaxPool Max Mean Min Sum",
    9: "BatchNormalization Cast Constant Flatten Gemm Greater Less MatMul PRelu",
    10: "AveragePool MaxPool",
    11: (
        "ArgMax ArgMin AveragePool Compress Concat Constant Conv ConvTranspose DepthToSpace Equal Flatten Gather Gemm "
        "Hardmax If LogSoftmax Loop LpPool MaxPool MaxUnpool NonMaxSuppression OneHot ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Scan Slice Softmax Split "
        "Squeeze TopK Unsqueeze"
    ),
    12: "ArgMax ArgMin Clip Constant GatherND Max MaxPool Min Pow ReduceMax ReduceMin",
    13: (
        "Abs Add ArgMax ArgMin Cast Ceil Clip Concat Constant DepthToSpace DequantizeLinear Div Dropout Equal Erf Exp "
        "Expand Flatten Floor Gather GatherElements GatherND Gemm Greater Identity If IsNaN LRN Less Log Loop MatMul "
        "Max Mean MeanVarianceNormalization Min Mod Mul Neg NegativeLogLikelihoodLoss NonZero Pad Pow "
        "QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceSumSquare Relu Reshape Resize ScatterElements ScatterND Shape Sigmoid Sign Size Slice "
        "SoftmaxCrossEntropyLoss SpaceToDepth Sqrt Sub Sum Tanh Tile Transpose"
    ),
}
"""Operators by the version that changed nothing for models of the version before."""

STEPS: dict[tuple[str, int], Adapter] = {
    **{(name, version): adapters.same for version, names in _SAME.items() for name in names.split()},
    ("BatchNormalization", 9): adapters.batch_norm_7,
    ("Clip", 11): adapters.clip,
    ("Dropout", 10): adapters.dropout_7,
    ("Dropout", 12): adapters.dropout_10,
    ("Hardmax", 13): adapters.softmax,
    ("LogSoftmax", 13): adapters.softmax,
    ("Pad", 11): adapters.pad,
    ("ReduceSum", 13): adapters.attribute_to_input("axes"),
    ("Resize", 11): resize.resize_10,
    ("Scan", 9): adapters.scan_8,
    ("Scatter", 11): adapters.scatter,
    ("Slice", 10): adapters.slicing,
    ("Softmax", 13): adapters.softmax,
    ("Split", 13): adapters.attribute_to_input("split"),
    ("Squeeze", 13): adapters.attribute_to_input("axes"),
    ("TopK", 10): adapters.attribute_to_input("k"),
    ("Unsqueeze", 13): adapters.attribute_to_input("axes"),
    ("Upsample", 9): resize.upsample_7,
    ("Upsample", 10): resize.upsample_9,
}
"""What turns an operator of the version before into this version of it."""


def raise_versions(model: ModelProto) -> list[str]:
    """Raise, in place, operators to opset 13 and the file format to the first version with functions; what was done.

    Raises:
        ArtifactError: an operator has no exact form in opset 13.
    """
    notes = []
    _name_standard_domain(model)
    opset = standard_opset(model)
    if opset < MIN_OPSET:
        count = _convert(model, opset)
        for entry in model.opset_import:
            if not entry.domain:
                entry.version = MIN_OPSET
        names = ", ".join(f"{name} ({number})" for name, number in sorted(count.items()))
        notes.append(f"opset {opset} was converted to {MIN_OPSET}" + (f", rewriting {names}" if names else ""))
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    return notes


def _name_standard_domain(model: ModelProto) -> None:
    """Write the standard operators' domain in one way: it has two names."""
    for node in all_nodes(model.graph):
        if node.domain == "ai.onnx":
            node.domain = ""
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""


def _convert(model: ModelProto, opset: int) -> Counter[str]:
    """Convert all graphs of a model; how many nodes of each operator changed."""
    count: Counter[str] = Counter()
    _convert_graph(model.graph, opset, Rewrite(model), count)
    return count


def _convert_graph(graph: GraphProto, opset: int, rewrite: Rewrite, count: Counter[str]) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        for inner in inner_graphs(node):
            _convert_graph(inner, opset, rewrite, count)
        try:
            made = _converted(node, opset, rewrite)
        except NotExactError as error:
            raise ArtifactError(_refusal(node, opset, str(error))) from error
        if len(made) != 1 or made[0] is not node:
            count[node.op_type] += 1
        nodes.extend(made)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _converted(node: NodeProto, opset: int, rewrite: Rewrite) -> list[NodeProto]:
    """What computes the same in opset 13 as the node does in `opset`.

    Raises:
        NotExactError: there is nothing.
    """
    step = next_version(node.op_type, opset)
    if step is None or node.domain:
        return [node]
    adapter = STEPS.get((node.op_type, step))
    if adapter is None:
        raise NotExactError(f"what version {step} of it changed is not known here")
    return [one for made in adapter(node, rewrite) for one in _converted(made, step, rewrite)]


@cache
def _versions(op_type: str) -> tuple[int, ...]:
    """The versions of the standard opset that changed an operator, rising."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return tuple(sorted(one.since_version for one in schemas if (one.domain, one.name) == ("", op_type)))


def next_version(op_type: str, opset: int) -> int | None:
    """The next version of an operator after the one that `opset` has, up to 13; None where there is none."""
    return next((version for version in _versions(op_type) if opset < version <= MIN_OPSET), None)


def _refusal(node: NodeProto, opset: int, why: str) -> str:
    name = node.name or (node.output[0] if node.output else "")
    return (
        f"{node.op_type} of opset {opset} (node '{name}') cannot be converted exactly to opset {MIN_OPSET}: {why}; "
        f"export the model again with opset {MIN_OPSET} or later"
    )
