"""Paired timing with a fake clock, so that the laws hold whatever this machine is doing."""

import itertools
from collections import Counter

import numpy as np
import pytest

from lth_deploy.errors import UsageError
from lth_deploy.measure.latency import Timing, paired_ratio, summarize, time_interleaved


class FakeTime:
    """A clock that only moves when work is done; its speed drifts from round to round."""

    def __init__(self, drift: float = 0.0) -> None:
        self.now = 0.0
        self.drift = drift
        self.calls: list[tuple[str, int]] = []

    def work(self, name: str, seconds: float):
        def call(number: int) -> None:
            self.calls.append((name, number))
            self.now += seconds * (1 + self.drift * number)

        return call

    def sleep(self, seconds: float) -> None:
        self.calls.append(("sleep", 0))
        self.now += seconds

    def measure(self, timing: Timing, **seconds: float) -> dict[str, list[list[float]]]:
        callables = {name: self.work(name, value) for name, value in seconds.items()}
        return time_interleaved(callables, timing, lambda: self.now, self.sleep)


TIMING = Timing(seconds=2.0, block_seconds=0.1, warm_up=2, settle=1, pause_seconds=0.01, minimum_rounds=5)


def test_every_callable_gets_the_same_rounds_and_the_time_box_holds() -> None:
    fake = FakeTime()
    blocks = fake.measure(TIMING, dense=0.01, packed=0.004)
    assert len(blocks["dense"]) == len(blocks["packed"]) >= TIMING.minimum_rounds
    assert fake.now < 1.2 * 2 * TIMING.seconds


def test_slow_callables_still_get_the_least_number_of_rounds() -> None:
    blocks = FakeTime().measure(TIMING, dense=30.0, packed=10.0)
    assert [len(values) for values in blocks.values()] == [5, 5]


def test_samples_are_milliseconds_and_exclude_warm_up_and_settling() -> None:
    fake = FakeTime()
    blocks = fake.measure(TIMING, dense=0.01, packed=0.004)
    assert all(sample == pytest.approx(10.0) for block in blocks["dense"] for sample in block)
    timed = sum(len(block) for block in blocks["dense"])
    assert Counter(name for name, _ in fake.calls)["dense"] == timed + TIMING.warm_up + len(blocks["dense"])


def test_each_comes_first_and_follows_each_other_and_blocks_are_separated_by_a_pause() -> None:
    fake = FakeTime()
    blocks = fake.measure(Timing(seconds=60, block_seconds=0.1, minimum_rounds=5), a=0.1, b=0.1, c=0.1)
    order = [name for name, _ in fake.calls[9:]]
    firsts = [order[i + 1] for i in range(len(order) - 1) if order[i] == "sleep"]
    rounds = [firsts[start : start + 3] for start in range(0, len(firsts) - 2, 3)]
    assert len(rounds) > 50
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    share = 1 / 3
    assert all(abs(sum(one[0] == name for one in rounds) / len(rounds) - share) < 0.15 for name in "abc")
    pairs = Counter(itertools.pairwise(firsts))
    others = [pairs[one, other] / len(firsts) for one in "abc" for other in "abc" if one != other]
    assert min(others) > 0.08
    assert len(blocks["a"]) >= 50


def test_all_work_on_the_same_input_in_one_round() -> None:
    fake = FakeTime()
    blocks = fake.measure(TIMING, a=0.05, b=0.02)
    seen = {name: [number for called, number in fake.calls if called == name] for name in "ab"}
    assert set(seen["a"]) == set(seen["b"]) == set(range(len(blocks["a"])))


def test_ratio_survives_a_clock_that_drifts() -> None:
    blocks = FakeTime(drift=0.2).measure(TIMING, dense=0.012, packed=0.004)
    ratio = paired_ratio(blocks["dense"], blocks["packed"])
    assert ratio.median == pytest.approx(1 / 3)
    assert ratio.low == pytest.approx(1 / 3)
    assert ratio.high == pytest.approx(1 / 3)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        dense = [list(generator.normal(20, 1, 3) * speed) for speed in generator.normal(1, 0.1, 15)]
        packed = [list(generator.normal(10, 0.5, 3)) for _ in range(15)]
        slowed = [[value * speed[0] / 20 for value in block] for block, speed in zip(packed, dense, strict=True)]
        ratio = paired_ratio(dense, slowed, samples=300, seed=seed)
        covered += ratio.low <= 0.5 <= ratio.high
    assert 85 <= covered <= 100


def test_summary_keeps_every_sample() -> None:
    summary = summarize([[1.0, 2.0], [3.0, 10.0]])
    assert summary.samples == (1.0, 2.0, 3.0, 10.0)
    assert (summary.min, summary.p50, summary.mean, summary.n) == (1.0, 2.5, 4.0, 4)
    assert summary.p50 <= summary.p90 <= 10.0


def test_no_time_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--time"):
        FakeTime().measure(Timing(seconds=0), a=1.0)
