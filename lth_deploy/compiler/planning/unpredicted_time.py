"""What an inference takes beside the layers whose time is predicted: sorting boxes, pooling regions, pasting masks.

The machine that exports is not the one that is predicted for. So only shares of a profile are taken from it: what is no
layer takes as many times the layers' dense time on the target as it does here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.roi_align import is_roi_align
from lth_deploy.compiler.artifact.weight_layers import weight_users
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.ort_profile import OperatorTime, stock_times
from lth_deploy.compiler.planning.stock_nodes import is_layer, name_nodes, source_node

NEGLIGIBLE = 0.03
"""A smaller share of the time is taken for none: it is within the noise of a profile."""

_MOST_NAMED = 16
"""Operators whose time is given."""

_LEAST_MS = 0.01
"""A shorter time of an operator is not given."""


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
    name_nodes(plain)
    return shares_of(stock_times(plain, feeds), plain, emitted, predicted)


def shares_of(
    times: Iterable[OperatorTime], plain: ModelProto, emitted: ModelProto, predicted: Collection[str]
) -> Shares:
    """The sums of a profile of `plain`, whose nodes were named by `name_nodes`."""
    outside = {name for node in emitted.graph.node if not is_region(node) for name in node.output}
    pooled = {name for node in emitted.graph.node if is_roi_align(node) for name in node.output}
    makers = {name: node for node in plain.graph.node for name in node.output}
    layers = {node.output[0] for node, weight in weight_users(plain, stored_weights(plain)) if weight in predicted}
    layers |= makers.keys() - outside
    sums = {"layers": 0.0, "roi_align": 0.0, "others": 0.0}
    by_operator: dict[str, float] = {}
    for one in times:
        node = source_node(one, plain, makers)
        if node is None:
            kind = "layers" if traits_of(one.op_type).inserted_by_runtime or is_layer(one.op_type) else "others"
        elif node.output[0] in pooled:
            kind = "roi_align"
        else:
            kind = "layers" if node.output[0] in layers else "others"
        sums[kind] += one.us
        if kind == "others":
            name = one.op_type if node is None else node.op_type
            by_operator[name] = by_operator.get(name, 0.0) + one.us
    return Shares(**sums, by_operator=by_operator)
