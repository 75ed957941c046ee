"""How long a whole model takes, with its regions in the kernels and dense in the stock runtime, from a table of rates.

The stock runtime says once which operators it makes of the dense model: fused, with conversions of its own, and on
which shapes. An operator without a rate takes the share of the profiled time that it has here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.artifact.check_regions import program_of, region_weights
from lth_deploy.compiler.artifact.inline_regions import is_region, region_functions
from lth_deploy.compiler.artifact.roi_align import is_roi_align
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.ort_profile import stock_times
from lth_deploy.compiler.planning.amounts import REGION, RUN, is_rated, milliseconds
from lth_deploy.compiler.planning.kernel_amounts import kernel_amounts
from lth_deploy.compiler.planning.mac_count import value_shapes
from lth_deploy.compiler.planning.stock_amounts import Executed, executed
from lth_deploy.compiler.planning.stock_nodes import name_nodes
from lth_deploy.config.cost_table import CostTable
from lth_deploy.formats.base import BF16


@dataclass(frozen=True)
class Pair:
    """Milliseconds on one thread, with the kernels and dense in the stock runtime."""

    kernels: float = 0.0
    dense: float = 0.0

    def __add__(self, other: "Pair") -> "Pair":
        return Pair(self.kernels + other.kernels, self.dense + other.dense)


@dataclass(frozen=True)
class ModelPrediction:
    """Of one plan.

    regions: each by its operator, all that it computes included. layers: dense milliseconds of layers by their weights.
    outside: what is in no region and no layer, by operator. unrated: share of the dense time of operators without a
    rate, which was taken from a profile. run: milliseconds of an inference that are in no operator.
    """

    regions: Mapping[str, Pair]
    layers: Mapping[str, float]
    outside: Mapping[str, Pair] = field(default_factory=dict)
    unrated: float = 0.0
    run: float = 0.0

    @property
    def rest(self) -> Pair:
        """All that is in no region and no layer."""
        return sum(self.outside.values(), Pair(self.run, self.run))


@dataclass(frozen=True)
class DenseRun:
    """The operators that the stock runtime makes of a dense model. profiled: whether their times count.

    shapes: of values that plans asked for, by name, as they are on the same feeds.
    """

    operators: Sequence[Executed]
    profiled: bool
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False)


def dense_run(emitted: ModelProto, feeds: Feeds, *, profiled: bool) -> DenseRun:
    """Run the dense model of an emitted one on `feeds`, on one thread.

    Raises:
        ArtifactError: the model does not run, or the runtime writes no profile.
    """
    plain = unpack_model(emitted)
    name_nodes(plain)
    return DenseRun(executed(stock_times(plain, feeds), plain), profiled)


def predict_model(emitted: ModelProto, run: DenseRun, feeds: Feeds, table: CostTable) -> ModelPrediction:
    """The times of an emitted model. run: of the dense model, whatever its regions.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    places = _places(emitted)
    pooled = {name for node in emitted.graph.node if is_roi_align(node) for name in node.output}
    dense, unrated = _dense_ms(run, table)
    regions = {node.op_type: Pair(ms) for node, ms in _kernel_ms(emitted, places, run.shapes, feeds, table)}
    layers: dict[str, float] = defaultdict(float)
    outside: dict[str, Pair] = defaultdict(Pair)
    inserted = 0.0
    for one, ms in zip(run.operators, dense, strict=True):
        place = None if one.node is None else places.get(one.node.output[0])
        if one.weight is not None:
            layers[one.weight[0]] += ms
        if one.node is None:
            inserted += ms
        elif place is not None:
            regions[place] += Pair(dense=ms)
        elif one.weight is None:
            roi = one.node.output[0] in pooled
            outside[one.node.op_type] += Pair(ms / table.roi_align if roi else ms, ms)
    # Conversions that the runtime inserted are spread over all that it computes: what is in a region needs none.
    longer = 1.0 + inserted / max(sum(dense) - inserted, 1e-9)
    return ModelPrediction(
        {name: Pair(pair.kernels, pair.dense * longer) for name, pair in regions.items()},
        {name: ms * longer for name, ms in layers.items()},
        {name: Pair(pair.kernels * longer, pair.dense * longer) for name, pair in outside.items()},
        unrated,
        milliseconds({RUN: 1.0}, table.stock),
    )


def dense_time(run: DenseRun, table: CostTable) -> float:
    """Milliseconds of a dense model."""
    return sum(_dense_ms(run, table)[0])


def regions_time(emitted: ModelProto, feeds: Feeds, table: CostTable, *, in_floats: bool = False) -> float:
    """Milliseconds of all regions of an emitted model. in_floats: if layers of bf16 were multiplied in float32.

    Raises:
        ArtifactError: the model does not run on `feeds`.
    """
    return sum(ms for _, ms in _kernel_ms(emitted, (), {}, feeds, table, in_floats=in_floats))


def _places(emitted: ModelProto) -> dict[str, str]:
    """The region that computes a tensor of the dense model, by the tensor's name."""
    functions = region_functions(emitted)
    found: dict[str, str] = {}
    for node in emitted.graph.node:
        if is_region(node):
            inner = functions[node.op_type]
            actual = dict(zip(inner.output, node.output, strict=True))
            found |= {actual.get(name, name): node.op_type for step in inner.node for name in step.output}
    return found


def _dense_ms(run: DenseRun, table: CostTable) -> tuple[list[float], float]:
    """Milliseconds of each operator, and the share of those without a rate."""
    amounts = [one.amounts for one in run.operators]
    rated = [one is not None and is_rated(one, table.stock) for one in amounts]
    known = [milliseconds(one or {}, table.stock) if has else 0.0 for one, has in zip(amounts, rated, strict=True)]
    us = [one.time.us for one in run.operators]
    here = sum(one for one, has in zip(us, rated, strict=True) if has)
    scale = sum(known) / here if here and run.profiled else 0.0
    times = [ms if has else one * scale for ms, has, one in zip(known, rated, us, strict=True)]
    return times, 1.0 - sum(known) / max(sum(times), 1e-9)


def _floats(weights: Callable[[int], Array]) -> Callable[[int], Array]:
    """The weights of a program, those of bf16 in float32."""

    def found(number: int) -> Array:
        values = weights(number)
        return values.astype(np.float32) if values.dtype == BF16 else values

    return found


def _kernel_ms(
    emitted: ModelProto,
    inside: Iterable[str],
    shapes: dict[str, tuple[int, ...]],
    feeds: Feeds,
    table: CostTable,
    *,
    in_floats: bool = False,
) -> list[tuple[NodeProto, float]]:
    """Milliseconds of each region. inside: what regions make. shapes: those known, of which there will be more."""
    nodes = [node for node in emitted.graph.node if is_region(node)]
    programs = [program_of(node) for node in nodes]
    names = {name for node, program in zip(nodes, programs, strict=True) for name in node.input[: program.inputs]}
    if not names <= shapes.keys():
        plain = unpack_model(emitted)
        name_nodes(plain)  # the runtime copies conversions that are read twice, and refuses two nodes of one name
        # Plans that follow cut the same regions into smaller ones, between tensors that are inside now.
        later = {name for node in plain.graph.node for name in node.output}.intersection(inside)
        shapes |= value_shapes(plain, sorted((names | later) - shapes.keys()), feeds)
    found = []
    for node, program in zip(nodes, programs, strict=True):
        given = [shapes[name] for name in node.input[: program.inputs]]
        weights = region_weights(emitted, node, program)
        steps, stored = kernel_amounts(program, given, _floats(weights) if in_floats else weights, table.tiles_l2)
        found.append((node, sum(milliseconds(step, table.kernels) for step in [*steps, stored, {REGION: 1.0}])))
    return found
