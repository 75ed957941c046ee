"""Whether floats that differ from a stock runtime's differ by rounding, which a network may enlarge.

A bound on the difference cannot tell: some networks, above all untrained ones, enlarge the rounding of their first
layers a thousandfold, and two engines that sum in different orders then differ by more than any fixed bound. So a
region whose floats differ by more is looked at again. Each of its instructions must be right by itself, within the
bounds of float32 sums (`region_steps.py`), and as a whole it must be about as near to double precision as the stock
runtime is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Feeds
from lth_deploy.measure.parity import relative_deviation
from lth_deploy.workflow.gates.region_steps import MOST, SteppedRegion

FARTHER = 4.0
"""How many times as far from double precision as the stock runtime kernels may be. The largest of many enlarged
roundings varies with the order of sums: 0.6 to 3 times with AVX-512 kernels in a YOLOv9-t of random weights."""


@dataclass(frozen=True)
class Verdict:
    """right: whether all that differs is rounding. text: what is wrong, or how far off both engines are."""

    right: bool
    text: str


def judge(
    region: SteppedRegion, feeds: Feeds, stock: Feeds, kernels: Feeds, bound: float, *, by_steps: bool
) -> Verdict:
    """Judge outputs of a region, of the kernels and of a stock runtime, that differ by more than `bound`.

    feeds: what reached the region. stock, kernels: its outputs by name. by_steps: whether each instruction is looked at
    too. Of a batch, the images that differ most are judged.

    Raises:
        ArtifactError: an engine fails, or the function is none of a region.
    """
    images = _that_differ_most(feeds, stock, kernels)
    feeds, stock, kernels = ({name: value[images] for name, value in one.items()} for one in (feeds, stock, kernels))
    wrong = region.wrong_step(feeds) if by_steps else None
    if wrong is not None:
        return Verdict(False, wrong)
    exact = region.exact(feeds)
    of_kernels, of_stock = (_error(exact, found) for found in (kernels, stock))
    text = f"against double precision the kernels are off by {of_kernels:.3g} and the stock runtime by {of_stock:.3g}"
    return Verdict(of_kernels <= max(bound, FARTHER * of_stock), text)


def _error(exact: Mapping[str, npt.NDArray[np.float64]], found: Feeds) -> float:
    return max(float(relative_deviation(value, found[name]).max(initial=0.0)) for name, value in exact.items())


def _that_differ_most(feeds: Feeds, stock: Feeds, kernels: Feeds) -> npt.NDArray[np.intp]:
    """Places of at most MOST images of a batch, in order: the instructions for the others are the same."""
    count = len(next(iter(feeds.values())))
    worst = np.zeros(count)
    for name, value in stock.items():
        worst = np.maximum(worst, relative_deviation(value, kernels[name]).reshape(count, -1).max(axis=1, initial=0.0))
    return np.sort(np.argsort(-worst, kind="stable")[:MOST])
