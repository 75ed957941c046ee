"""`export --tune`, the whole model: regions are given up until it is not slower than its dense twin.

A region by itself says little of what it does to the model around it: the stock runtime has a layout of its own, and
each border of a region changes it. So the whole model is timed against its dense twin, in pairs of calls.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.save import save_model
from lth_deploy.measure.latency import Timing, paired_ratio, time_interleaved
from lth_deploy.runtimes import RUNTIMES, Session

log = logging.getLogger(__name__)

SLOWEST = 1 / 0.97
"""Most time over the dense twin's that counts as not slower."""

PAIRS, QUICK_PAIRS = 40, 12
"""Pairs of calls that a verdict takes the median of, and that a look at one region less takes."""

ROUNDS = 8
"""Times that single regions are given up; after them, all that are left at once."""

OPTIONS = 6
"""Regions, those that gain least by themselves, that are left out in turn to see which costs the model most."""


@dataclass(frozen=True)
class PairTimes:
    """Median milliseconds with kernels and dense, of a model or a region, and the median ratio of pairs of calls."""

    kernels: float
    dense: float
    ratio: float

    @property
    def slower(self) -> bool:
        """Whether it is slower with kernels."""
        return self.ratio > SLOWEST


@dataclass(frozen=True)
class Plan:
    """An emitted model, what became of each layer, and the layers that were given up so far, each with the reason."""

    model: ModelProto
    layers: list[LayerReport]
    slower: Mapping[str, str]

    @property
    def regions(self) -> list[str]:
        """Names of its regions, in the order of their first layers."""
        return list(dict.fromkeys(layer.region for layer in self.layers if layer.region is not None))

    def layers_of(self, region: str) -> list[str]:
        """The weights of a region's layers."""
        return [layer.name for layer in self.layers if layer.region == region]


Emit = Callable[[Mapping[str, str]], Plan]
"""A plan without the layers that are given up, by name, with the reason."""

Measure = Callable[[Plan, int], PairTimes]
"""The whole model of a plan, timed in so many pairs of calls."""


def not_slower(plan: Plan, gains: Mapping[str, float], emit: Emit, measure: Measure) -> tuple[Plan, PairTimes]:
    """A plan whose model is not slower than its dense twin, and its times; in the end one without regions.

    gains: milliseconds that each region of `plan` saves by itself.
    """
    whole = measure(plan, PAIRS)
    _report(plan, whole)
    for number in range(1, ROUNDS + 1):
        if not whole.slower or not plan.regions:
            return plan, whole
        if number == ROUNDS or len(plan.regions) == 1:
            while plan.regions:  # what is left may be cut into others
                plan = _without(plan, plan.regions, whole, emit)
        else:
            gains, plan = _without_worst(plan, gains, whole, emit, measure)
        whole = measure(plan, PAIRS)
        _report(plan, whole)
    return plan, whole


def _without_worst(
    plan: Plan, gains: Mapping[str, float], whole: PairTimes, emit: Emit, measure: Measure
) -> tuple[dict[str, float], Plan]:
    """The plan without the region whose absence helps the model most, and what the others gain."""
    candidates = sorted(plan.regions, key=lambda name: gains.get(name, 0.0))[:OPTIONS]
    tried = {}
    for name in candidates:
        other = _without(plan, [name], whole, emit)
        found = measure(other, QUICK_PAIRS)
        tried[name] = (found.ratio, other)
        log.info("without %s: %.3f of the dense time", name, found.ratio)
        if not found.slower:
            break
    worst = min(tried, key=lambda name: tried[name][0])
    after = tried[worst][1]
    # Regions are numbered anew; what they are is the weights of their layers.
    known = {frozenset(plan.layers_of(name)): gain for name, gain in gains.items()}
    return {name: known.get(frozenset(after.layers_of(name)), 0.0) for name in after.regions}, after


def _without(plan: Plan, regions: list[str], whole: PairTimes, emit: Emit) -> Plan:
    reason = f"measured: with its region the model takes {whole.kernels:.2f} ms, dense {whole.dense:.2f} ms"
    lost = {layer: reason for name in regions for layer in plan.layers_of(name)}
    return emit({**plan.slower, **lost})


def _report(plan: Plan, whole: PairTimes) -> None:
    verdict = "slower than dense" if whole.slower else "not slower than dense"
    log.info(
        "the whole model with %d regions: %.2f ms with kernels, %.2f ms dense, median of ratios %.3f: %s",
        len(plan.regions),
        whole.kernels,
        whole.dense,
        whole.ratio,
        verdict,
    )


def time_whole(model: ModelProto, feeds: Feeds, pairs: int) -> PairTimes:
    """Time a model with kernels against its dense twin, on one thread, one call of each in turn.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    with storage.scratch("tune") as folder:
        save_model(model, folder / "model.onnx")
        save_model(unpack_model(model), folder / "dense.onnx")
        return time_pair(folder / "model.onnx", folder / "dense.onnx", feeds, pair_timing(pairs))


def time_pair(kernels: Path, dense: Path, feeds: Feeds, timing: Timing) -> PairTimes:
    """Time a file with the kernels and a file in the stock runtime in turns, on one thread.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    sessions = {
        "lth_deploy": RUNTIMES.get("lth_deploy").load(kernels, threads=1),
        "onnxruntime": RUNTIMES.get("onnxruntime").load(dense, threads=1),
    }
    blocks = time_interleaved({name: _runner(session, feeds) for name, session in sessions.items()}, timing)
    of_kernels, of_dense = (float(np.median([t for block in blocks[name] for t in block])) for name in sessions)
    return PairTimes(of_kernels, of_dense, paired_ratio(blocks["onnxruntime"], blocks["lth_deploy"], samples=1).median)


def pair_timing(pairs: int) -> Timing:
    """One call a block; the box of time is so small that the number of pairs decides."""
    return Timing(seconds=1e-9, block_seconds=1e-9, pause_seconds=0.0, minimum_rounds=pairs)


def _runner(session: Session, feeds: Feeds) -> Callable[[int], object]:
    return lambda _: session.run(feeds)
