"""Paired timing of several callables: alternating blocks, every sample kept.

Clock rates drift and other processes come and go. Callables that are timed side by side in short blocks are
disturbed alike, so ratios are steadier than times. The order of each round is drawn: the first callable after a pause
has to wait until the processor is awake, and each one finds the caches as the one before it has left them. In a fixed
order, or one that rotates, a callable would always follow the same neighbor.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lth_deploy.errors import UsageError
from lth_deploy.progress import progress


@dataclass(frozen=True)
class Summary:
    """Of the samples of one callable, in milliseconds; n is how many there are."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    n: int
    samples: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """Time over the baseline's (0.5: twice as fast), with a 95 % bootstrap interval of the median."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """How to measure: `seconds` in all for each callable, in blocks of about `block_seconds`.

    warm_up: untimed calls of each before the first round. settle: untimed calls at the start of every block,
    which refill caches that the previous callable emptied. pause_seconds: idle time between blocks, in which
    foreign worker threads fall asleep.
    """

    seconds: float = 5.0
    block_seconds: float = 0.25
    warm_up: int = 3
    settle: int = 1
    pause_seconds: float = 0.02
    minimum_rounds: int = 5

    @classmethod
    def within(cls, seconds: float) -> "Timing":
        """`seconds` for each callable, in blocks that are short enough for the least number of rounds."""
        whole = cls(seconds=seconds)
        return replace(whole, block_seconds=min(whole.block_seconds, seconds / whole.minimum_rounds))


def time_interleaved(
    callables: Mapping[str, Callable[[int], object]],
    timing: Timing,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[list[float]]]:
    """Milliseconds of every timed call, by name and block; all names have the same number of blocks.

    A callable gets the number of the round, so that all of them can work on the same input in one round.

    Raises:
        UsageError: the time box or a count is not positive.
    """
    if timing.seconds <= 0 or timing.block_seconds <= 0 or timing.minimum_rounds < 1:
        raise UsageError(f"timing needs positive seconds, block and rounds, got {timing}; give --time in seconds")
    names = list(callables)
    for name in names:
        for _ in range(timing.warm_up):
            callables[name](0)
    blocks: dict[str, list[list[float]]] = {name: [] for name in names}
    began, seconds = clock(), timing.seconds * len(names)
    rounds = shown = 0
    with progress("timing, in seconds", total=round(seconds)) as step:
        while rounds < timing.minimum_rounds or clock() - began < seconds:
            for name in round_order(names, rounds):
                sleep(timing.pause_seconds)
                blocks[name].append(_block(partial(callables[name], rounds), timing, clock))
            rounds += 1
            elapsed = min(int(clock() - began), round(seconds))
            step(elapsed - shown)
            shown = elapsed
    return blocks


def round_order(names: Sequence[str], number: int) -> list[str]:
    """The order of a round, the same each time that it is measured."""
    return [names[place] for place in np.random.default_rng(number).permutation(len(names))]


def _block(call: Callable[[], object], timing: Timing, clock: Callable[[], float]) -> list[float]:
    for _ in range(timing.settle):
        call()
    samples: list[float] = []
    end = clock() + timing.block_seconds
    while not samples or clock() < end:
        start = clock()
        call()
        samples.append((clock() - start) * 1e3)
    return samples


def summarize(blocks: Sequence[Sequence[float]]) -> Summary:
    """Percentiles over all samples of all blocks."""
    samples = np.array([sample for block in blocks for sample in block])
    return Summary(
        float(np.percentile(samples, 50)),
        float(np.percentile(samples, 90)),
        float(np.percentile(samples, 99)),
        float(samples.mean()),
        float(samples.min()),
        len(samples),
        tuple(round(float(sample), 4) for sample in samples),
    )


def paired_ratio(
    baseline: Sequence[Sequence[float]],
    other: Sequence[Sequence[float]],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """How long `other` takes: median over rounds of median(other block) / median(baseline block).

    Rounds are resampled, not single calls: calls of one block share the machine's state and are not
    independent.
    """
    each = np.array([np.median(timed) / np.median(base) for base, timed in zip(baseline, other, strict=True)])
    generator = np.random.default_rng(seed)
    resampled = np.median(each[generator.integers(0, len(each), (samples, len(each)))], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Ratio(float(np.median(each)), float(low), float(high))
