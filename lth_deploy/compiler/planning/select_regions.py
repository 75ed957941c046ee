"""The planner: which layers run sparse, from a table of rates or from times that were measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from lth_deploy.compiler.artifact.packed_weight import StoredWeight, stored_weights
from lth_deploy.compiler.planning.cost_model import Cost, conversion_ms, layer_class, layer_cost
from lth_deploy.compiler.regions.codegen.build import RegionPlan, Verdict, build_regions, zeros_from
from lth_deploy.compiler.regions.match.region_op import RegionOp, is_depthwise
from lth_deploy.compiler.regions.partition.cut import Cut
from lth_deploy.config.target import Target
from lth_deploy.element_types import BFLOAT16


@dataclass(frozen=True)
class Facts:
    """What is known beside the model.

    positions, batches: how one inference uses each weight, see `Uses`. slower: weights of regions that were measured
    to be slower than dense, with the reason in words. by_table: whether predictions may keep a layer out; times that
    will be measured know better.
    """

    positions: Mapping[str, int] = field(default_factory=dict)
    slower: Mapping[str, str] = field(default_factory=dict)
    by_table: bool = True
    batches: Mapping[str, int] = field(default_factory=dict)


_CUT = 1.1
"""A layer between bytes may be so much slower inside a region: bytes that cross its border become floats and back."""


def _predicted(cost: Cost) -> str:
    return f"predicted: {cost.sparse:.2f} ms sparse, {cost.dense:.2f} ms dense"


def plan_regions(packed: ModelProto, target: Target, facts: Facts) -> tuple[ModelProto, RegionPlan, dict[str, Cost]]:
    """The packed model with its regions, what became of each layer, and the predicted cost of every layer's weight.

    Without positions nothing is predicted, and the share of zeros decides.
    """
    stored = stored_weights(packed)
    costs: dict[str, Cost] = {}
    layouts: dict[frozenset[str], float] = {}
    by_zeros = zeros_from(target.region_zeros, target.region_quads)

    def verdict(op: RegionOp, weight: StoredWeight) -> str | None:
        if weight.name in facts.slower:
            return facts.slower[weight.name]
        bf16 = weight.value_type == BFLOAT16.onnx
        too_full = None if bf16 else by_zeros(op, weight)
        times = facts.positions.get(weight.name)
        if times is None:
            return too_full
        batch = facts.batches.get(weight.name, 1)
        cost = costs.setdefault(weight.name, layer_cost(op, weight, times, target.costs, batch))
        if op.kind.quantized and not is_depthwise(op, weight.shape):
            return None if cost.sparse <= _CUT * cost.dense or not facts.by_table else _predicted(cost)
        predicted_faster = cost.sparse < cost.dense
        if predicted_faster and facts.by_table and layer_class(op, weight.shape) == "stem":
            return None  # full as it is: inside, neither its input nor its pool changes the layout
        if too_full is not None or not facts.by_table or predicted_faster:
            return too_full
        return _predicted(cost)

    def region_obstacle(cut: Cut) -> str | None:
        weights = {str(op.weight) for op in cut.ops if op.kind.has_weight}
        by_layers = (
            facts.by_table and not target.costs.predicts_whole_models
        )  # else the prediction of the whole decides
        if not by_layers or not all(name in costs for name in weights):
            return None
        whole = sum((costs[name] for name in weights), Cost(0.0, 0.0))
        layout = layouts[frozenset(weights)] = conversion_ms(cut, stored, facts.positions, target.costs)
        if whole.sparse + layout < whole.dense:
            return None
        return (
            f"predicted for its region: {whole.sparse:.2f} ms sparse and {layout:.2f} ms to change the layout, "
            f"{whole.dense:.2f} ms dense"
        )

    rule: Verdict = verdict
    built, plan = build_regions(packed, rule, region_obstacle)
    return built, plan, costs | _with_layout(costs, layouts)


def _with_layout(costs: Mapping[str, Cost], layouts: Mapping[frozenset[str], float]) -> dict[str, Cost]:
    """The layers of each region, the time that changing its layout takes spread over them."""
    spread: dict[str, Cost] = {}
    for weights, layout in layouts.items():
        longer = 1.0 + layout / max(sum(costs[name].sparse for name in weights), 1e-9)
        spread.update({name: Cost(costs[name].sparse * longer, costs[name].dense) for name in weights})
    return spread
