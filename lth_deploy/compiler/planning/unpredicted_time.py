"""What an inference takes beside the layers whose time is predicted: sorting boxes, pooling regions, pasting masks.

The machine that exports is not the one that is predicted for. So only shares of a profile are taken from it: what is no
layer takes as many times the layers' dense time on the target as it does here.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.roi_align import is_roi_align
from lth_deploy.compiler.artifact.weight_layers import CHAIN, weight_users
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.operators import operators_with, traits_of
from lth_deploy.compiler.model.ort_profile import OperatorTime, stock_times

NEGLIGIBLE = 0.03
"""A smaller share of the time is taken for none: it is within the noise of a profile."""

_MOST_NAMED = 16
"""Operators whose time is given."""

_LEAST_MS = 0.01
"""A shorter time of an operator is not given."""

_NODE = re.compile(r"(?:fused )?lth_deploy\.node\.(\d+)")
_BLOCKED = "_nchwc"
_LAYERS = operators_with(lambda traits: traits.float_layer)


@dataclass(frozen=True)
class Shares:
    """One inference of the dense model in the stock runtime, any unit.

    layers: those that are predicted, and what regions compute along with them. roi_align: where the kernel library has
    its own. others: all else, layers included that nobody predicts; by_operator: the same, for each ONNX operator.
    """

    layers: float
    roi_align: float
    others: float
    by_operator: Mapping[str, float] = field(default_factory=dict, compare=False)


def unpredicted_ms(shares: Shares, dense_ms: float, roi_align: float) -> tuple[float, float] | None:
    """Milliseconds of all that is no predicted layer, with the kernel library and without; None where no layer ran.

    Args:
        shares: of the model.
        dense_ms: predicted for its layers, dense.
        roi_align: times as fast as the stock RoiAlign is ours.
    """
    if shares.layers <= 0:
        return None
    stock = shares.roi_align + shares.others
    if stock < NEGLIGIBLE * (shares.layers + stock):
        return 0.0, 0.0
    scale = dense_ms / shares.layers
    return scale * (shares.roi_align / roi_align + shares.others), scale * stock


def outside_ms(shares: Shares, unpredicted: tuple[float, float] | None) -> dict[str, float]:
    """Milliseconds of each operator that no region computes, without the kernel library, the longest first.

    unpredicted: see `unpredicted_ms`.
    """
    stock = shares.roi_align + shares.others
    if unpredicted is None or not stock:
        return {}
    scaled = {name: us * unpredicted[1] / stock for name, us in shares.by_operator.items()}
    ordered = sorted(scaled.items(), key=lambda one: (-one[1], one[0]))
    return {name: ms for name, ms in ordered[:_MOST_NAMED] if ms >= _LEAST_MS}


def measured_shares(emitted: ModelProto, predicted: Collection[str], feeds: Feeds) -> Shares:
    """Profile the dense model of an emitted one on `feeds`; predicted: weights whose layers have a predicted time.

    Raises:
        ArtifactError: the model does not run, or the runtime writes no profile.
    """
    plain = unpack_model(emitted)
    for number, node in enumerate(plain.graph.node):
        node.name = f"lth_deploy.node.{number}"
    return shares_of(stock_times(plain, feeds), plain, emitted, predicted)


def shares_of(
    times: Iterable[OperatorTime], plain: ModelProto, emitted: ModelProto, predicted: Collection[str]
) -> Shares:
    """The sums of a profile of `plain`, whose nodes are called lth_deploy.node.NUMBER."""
    outside = {name for node in emitted.graph.node if not is_region(node) for name in node.output}
    pooled = {name for node in emitted.graph.node if is_roi_align(node) for name in node.output}
    makers = {name: node for node in plain.graph.node for name in node.output}
    layers = {node.output[0] for node, weight in weight_users(plain, stored_weights(plain)) if weight in predicted}
    layers |= makers.keys() - outside
    sums = {"layers": 0.0, "roi_align": 0.0, "others": 0.0}
    by_operator: dict[str, float] = {}
    for one in times:
        node = _source(one, plain, makers)
        if node is None:
            kind = "layers" if traits_of(one.op_type).inserted_by_runtime or _is_weighted(one.op_type) else "others"
        elif node.output[0] in pooled:
            kind = "roi_align"
        else:
            kind = "layers" if node.output[0] in layers else "others"
        sums[kind] += one.us
        if kind == "others":
            name = one.op_type if node is None else node.op_type
            by_operator[name] = by_operator.get(name, 0.0) + one.us
    return Shares(**sums, by_operator=by_operator)


def _source(one: OperatorTime, plain: ModelProto, makers: Mapping[str, NodeProto]) -> NodeProto | None:
    """The node of the model that a node of the runtime stands for, of fused ones the layer; None for its own.

    A fused node is called after its first, or in the blocked layout after what it puts out.
    """
    match = _NODE.match(one.name)
    node = makers.get(one.name.removesuffix(_BLOCKED)) if match is None else plain.graph.node[int(match[1])]
    if not _is_weighted(one.op_type):
        return node
    layer = node
    for _ in range(CHAIN):
        if layer is None or traits_of(layer.op_type).has_weight:
            break
        layer = makers.get(layer.input[0]) if layer.input else None
    return layer or node


def _is_weighted(op_type: str) -> bool:
    """Whether an operator of the runtime is a layer, also a fused one or one of another layout, by its name."""
    return any(layer in op_type for layer in _LAYERS)
