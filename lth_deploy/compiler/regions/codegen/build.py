"""The region pass: layers of a packed model that belong together become one node with a program."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN, DOMAIN_VERSION, MAX_REGIONS, region_name
from lth_deploy.compiler.artifact.packed_weight import StoredWeight
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.compiler.model.traverse import read_by
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.classify import classified
from lth_deploy.compiler.regions.codegen.fallback_function import PROGRAM, function
from lth_deploy.compiler.regions.codegen.program_builder import Translation, translate
from lth_deploy.compiler.regions.match.quad_density import quad_density
from lth_deploy.compiler.regions.match.region_op import RegionOp, is_depthwise, outputs_first
from lth_deploy.compiler.regions.partition.cut import Cut, cut, shape_nodes
from lth_deploy.compiler.regions.partition.grow import grow
from lth_deploy.compiler.regions.partition.qdq_boundary import restore_qdq
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.text import text

Verdict = Callable[[RegionOp, StoredWeight], str | None]
"""Why a layer is not worth a sparse kernel; None where it is."""


RegionObstacle = Callable[[Cut], str | None]
"""Why a region is not worth its node; None where it is."""


@dataclass(frozen=True)
class RegionReport:
    """One region: its operator, the names of its layers' nodes, their weights, activations in and out."""

    name: str
    nodes: tuple[str, ...]
    weights: tuple[str, ...]
    inputs: int
    outputs: int
    instructions: int


@dataclass(frozen=True)
class RegionPlan:
    """All regions of a model, and why each layer outside has none, by the name of its weight."""

    regions: tuple[RegionReport, ...]
    outside: dict[str, str]


DEPTHWISE = "depthwise layers multiply zeros too: one is in a region only where it connects other layers"


def zeros_from(least: float, quads: float | None = None) -> Verdict:
    """The verdict that looks at nothing but the share of zeros; of quantized layers at that of empty quads.

    quads: least share of empty quads; None for `least`.
    """
    least_quads = least if quads is None else quads

    def verdict(op: RegionOp, stored: StoredWeight) -> str | None:
        if is_depthwise(op, stored.shape):
            return DEPTHWISE
        weights = outputs_first(op, stored.weights())
        if op.kind.quantized:
            share = 1.0 - quad_density(weights)
            if share >= least_quads:
                return None
            return f"{share:.1%} empty quads: dense kernels are faster below {least_quads:.0%}"
        share = 1.0 - np.count_nonzero(weights) / weights.size
        return None if share >= least else f"{share:.1%} zeros: dense kernels are faster below {least:.0%}"

    return verdict


def build_regions(
    model: ModelProto, verdict: Verdict, region_obstacle: RegionObstacle = lambda cut: None
) -> tuple[ModelProto, RegionPlan]:
    """A packed model with its regions, and what became of each layer; the model itself is left alone.

    Raises:
        ArtifactError: a stored weight is damaged.
    """
    without_regions = model
    found = classified(model)
    model, stored, info, ops, reasons = found.model, found.stored, found.info, found.ops, found.reasons
    verdicts = _verdicts(ops, stored, verdict)
    regions = grow(model.graph, ops, info, lambda op: verdicts[op.place] is None)
    regions = _largest(regions, stored)
    cuts, outside = cut(model.graph, regions, info)
    translations = _translated(cuts, info, stored, region_obstacle)
    while any(isinstance(result, str) for result in translations):
        # Not worth a node, or beyond a limit of the program: given up, and the others are cut again.
        for region, result in zip(regions, translations, strict=True):
            if isinstance(result, str):
                reasons.update((str(op.weight), result) for op in region if op.kind.has_weight)
        regions = [region for region, result in zip(regions, translations, strict=True) if not isinstance(result, str)]
        cuts, outside = cut(model.graph, regions, info)
        translations = _translated(cuts, info, stored, region_obstacle)
    done = [
        (region_cut, translation)
        for region_cut, translation in zip(cuts, translations, strict=True)
        if not isinstance(translation, str)
    ]
    # Of a layer outside the conversions may be inside, at its place.
    inside = {op.place for region_cut, _ in done for op in region_cut.ops if op.kind.has_weight}
    for op in ops:
        if op.kind.has_weight and op.place not in inside:
            reasons.setdefault(str(op.weight), verdicts[op.place] or "no region is left that is worth a node")
    if not done:
        return without_regions, RegionPlan((), reasons)
    built = _assembled(model, done, outside, info, stored)
    return built, RegionPlan(tuple(_report(number, *entry) for number, entry in enumerate(done)), reasons)


def _verdicts(ops: Iterable[RegionOp], stored: dict[str, StoredWeight], verdict: Verdict) -> dict[int, str | None]:
    by_weight: dict[tuple[str, str], str | None] = {}
    found = {}
    for op in ops:
        if op.weight is not None:
            key = (op.weight, op.kind.name)
            if key not in by_weight:
                by_weight[key] = verdict(op, stored[op.weight])
            found[op.place] = by_weight[key]
    return found


def _largest(regions: list[list[RegionOp]], stored: dict[str, StoredWeight]) -> list[list[RegionOp]]:
    """As many regions as there are operators for, those with most layers first, in graph order."""
    count = sorted(range(len(regions)), key=lambda i: -sum(op.kind.has_weight for op in regions[i]))[:MAX_REGIONS]
    return [regions[i] for i in sorted(count)]


def _translated(
    cuts: Sequence[Cut], info: TensorInfo, stored: dict[str, StoredWeight], region_obstacle: RegionObstacle
) -> list[Translation | str]:
    translations: list[Translation | str] = []
    for region_cut in cuts:
        reason = region_obstacle(region_cut)
        if reason is not None:
            translations.append(reason)
            continue
        try:
            translation = translate(region_cut.ops, region_cut.outputs, info, stored)
            text(translation.program)
            translations.append(translation)
        except ArtifactError as error:
            translations.append(f"its region is beyond the limits: {error}")
    return translations


def _assembled(
    model: ModelProto,
    done: Sequence[tuple[Cut, Translation]],
    outside: Sequence[NodeProto],
    info: TensorInfo,
    stored: dict[str, StoredWeight],
) -> ModelProto:
    built = ModelProto()
    built.CopyFrom(model)
    opset = standard_opset(model)
    nodes: list[NodeProto] = []
    same_planes = {name: same_plane for region_cut, _ in done for name, same_plane in region_cut.shape_only.items()}
    for node in outside:
        if node.op_type == "Shape" and node.input[0] in same_planes:
            nodes.extend(shape_nodes(node.input[0], same_planes[node.input[0]], node, info))
        else:
            nodes.append(node)
    calls = []
    for number, (region_cut, translation) in enumerate(done):
        name = region_name(number)
        inputs = [*translation.activations, *translation.arrays]
        attributes = {PROGRAM: text(translation.program)}
        calls.append(
            (region_cut, helper.make_node(name, inputs, list(translation.outputs), name, domain=DOMAIN, **attributes))
        )
        built.functions.append(function(name, region_cut.ops, translation, info, stored, opset))
    ordered = _ordered(model.graph, restore_qdq([*nodes, *(call for _, call in calls)], calls))
    del built.graph.node[:]
    built.graph.node.extend(ordered)
    _drop_unused(built)
    built.graph.value_info.extend(_output_shapes(built.graph, [call for _, call in calls], info))
    if all(entry.domain != DOMAIN for entry in built.opset_import):
        built.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return built


def _ordered(graph: GraphProto, nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Nodes so that each stands behind those that it reads, otherwise as in the graph."""
    place = {name: i for i, node in enumerate(graph.node) for name in node.output}
    maker = {name: i for i, node in enumerate(nodes) for name in node.output}
    rank = [min((place[name] for name in node.output if name in place), default=len(place)) for node in nodes]
    waits = [{maker[name] for name in read_by(node) if name in maker} for node in nodes]
    readers: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for other in before:
            readers.setdefault(other, []).append(i)
    missing = [len(before) for before in waits]
    ready = [(rank[i], i) for i, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        _, i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for reader in readers.get(i, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (rank[reader], reader))
    assert len(ordered) == len(nodes), "regions depend on each other"
    return ordered


def _output_shapes(graph: GraphProto, calls: Sequence[NodeProto], info: TensorInfo) -> list[ValueInfoProto]:
    """Shapes of outputs of regions: those that are known, and ranks of others on which a shape depends that is read.

    Where regions have a kernel, shape inference knows nothing of their outputs. A runtime then neither computes what
    follows from sizes nor fuses what depends on them, and takes sizes cut out of an unknown shape to be empty.
    """
    outputs = {name for call in calls for name in call.output if name in info.shapes}
    sources_of: dict[str, set[str]] = {name: {name} for name in outputs}
    shape_sources: dict[str, None] = {}
    for node in graph.node:
        if node.domain == DOMAIN:
            continue
        sources = set().union(*(sources_of.get(name, set()) for name in read_by(node)))
        if node.op_type == "Shape":
            shape_sources.update(dict.fromkeys(sorted(sources)))
        elif sources:
            sources_of.update((name, sources) for name in node.output)
    declared = {value.name for value in (*graph.value_info, *graph.output)}
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [size.known for size in info.shapes[name]])
        for name in sorted(outputs)
        if name not in declared and (name in shape_sources or all(size.known for size in info.shapes[name]))
    ]


def _drop_unused(model: ModelProto) -> None:
    graph = model.graph
    read = {name for node in graph.node for name in read_by(node)} | {value.name for value in graph.output}
    written = {name for node in graph.node for name in node.output}
    overridable = {value.name for value in graph.input}
    for kept, entries in (
        ([t for t in graph.initializer if t.name in read or t.name in overridable], graph.initializer),
        ([v for v in graph.value_info if v.name in written], graph.value_info),
    ):
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
        del entries[:]
        entries.extend(copies)


def _report(number: int, region_cut: Cut, translation: Translation) -> RegionReport:
    layers = [op for op in region_cut.ops if op.kind.has_weight]
    return RegionReport(
        name=region_name(number),
        nodes=tuple(op.name for op in layers),
        weights=tuple(dict.fromkeys(str(op.weight) for op in layers)),
        inputs=len(translation.activations),
        outputs=len(translation.outputs),
        instructions=len(translation.program.instructions),
    )
