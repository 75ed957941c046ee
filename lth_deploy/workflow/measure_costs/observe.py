"""What each operator of a probe takes, in the kernels and in the stock runtime, beside what it has to do.

Both sessions run in turns, on one thread. Of each operator and of whole runs the least time counts, which other work on
the machine disturbs least.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.check_regions import program_of, region_weights
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.compiler.emit import emit
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.ort_profile import operator_times
from lth_deploy.compiler.planning.kernel_amounts import kernel_amounts
from lth_deploy.compiler.planning.stock_amounts import executed
from lth_deploy.compiler.planning.stock_nodes import name_nodes
from lth_deploy.compiler.planning.tile_form import is_in_tiles
from lth_deploy.config.target import Target
from lth_deploy.kernels import ops_library
from lth_deploy.workflow.measure_costs.probes import Probe

_EVERYTHING = Target(values="fp32", region_zeros=0, region_quads=0)
_EVERYTHING_BF16 = _EVERYTHING.model_copy(update={"values": "bf16"})
"""All layers in regions, whatever they cost."""

_PROFILE = "LTH_PROFILE"


@dataclass(frozen=True)
class Observation:
    """An operator: amounts that it has to do, and nanoseconds that it takes."""

    amounts: Mapping[str, float]
    ns: float


@dataclass(frozen=True)
class Observed:
    """The operators of one probe, and nanoseconds of whole runs, of which processor time counts.

    tiles_l2: see `CostTable`; of a probe that has layers in matrix tiles.
    """

    kernels: list[Observation]
    stock: list[Observation]
    kernels_ns: float
    stock_ns: float
    tiles_l2: int | None = None


def observe(probe: Probe, rounds: int) -> Observed:
    """Time a probe in so many rounds.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    graph = probe.graph()
    packed, _ = emit(normalize(graph.model()), _EVERYTHING_BF16 if probe.bf16 else _EVERYTHING)
    plain = unpack_model(packed)
    name_nodes(plain)
    feeds = graph.feeds()
    with storage.scratch("costs") as folder:
        kernels, stock, whole = _timed(packed, plain, feeds, folder, rounds)
    tiles_l2 = kernels["l2"] if any(map(is_in_tiles, kernels["forms"])) else None
    (node,) = (node for node in packed.graph.node if is_region(node))
    program = program_of(node)
    steps, stored = kernel_amounts(program, [graph.shape], region_weights(packed, node, program), tiles_l2)
    times = [Observation(step, ns) for step, ns in zip([*steps, stored], kernels["least_ns"], strict=True)]
    operators = [
        Observation(one.amounts, 1e3 * one.time.us)
        for one in executed(operator_times(stock), plain)
        if one.amounts is not None
    ]
    return Observed(times, operators, *whole, tiles_l2)


def _timed(
    packed: ModelProto, plain: ModelProto, feeds: Feeds, folder: Path, rounds: int
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]], tuple[float, float]]:
    """What the kernel library says of its region, the stock runtime's events, and nanoseconds of whole runs."""
    own = folder / "kernels.jsonl"
    with _profiled_into(own):
        events, whole = _in_turns(packed, plain, feeds, folder / "stock", rounds)
    (line,) = own.read_text(encoding="utf-8").splitlines()
    return json.loads(line), events, whole


def _in_turns(
    packed: ModelProto, plain: ModelProto, feeds: Feeds, profile: Path, rounds: int
) -> tuple[list[Mapping[str, Any]], tuple[float, float]]:
    """The stock runtime's events, and nanoseconds of whole runs; a region writes its profile when this returns."""
    kernels, stock, bare = _session(packed, library=True), _session(plain, profile=profile), _session(plain)
    runs: list[list[float]] = [[], []]
    for _ in range(rounds):
        runs[0].append(_processor_ns(lambda: kernels.run(None, feeds)))
        stock.run(None, feeds)
        runs[1].append(_processor_ns(lambda: bare.run(None, feeds)))
    events = json.loads(Path(stock.end_profiling()).read_text(encoding="utf-8"))
    return events, (min(runs[0]), min(runs[1]))


@contextmanager
def _profiled_into(file: Path) -> Iterator[None]:
    before = os.environ.get(_PROFILE)
    os.environ[_PROFILE] = str(file)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PROFILE]
        else:
            os.environ[_PROFILE] = before


def _processor_ns(call: Callable[[], object]) -> float:
    began = time.process_time_ns()
    call()
    return float(time.process_time_ns() - began)


def _session(model: ModelProto, *, library: bool = False, profile: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(str(ops_library()))
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
