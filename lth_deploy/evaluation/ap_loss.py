"""AP that one detector loses to another on the same images, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lth_deploy.errors import DataError
from lth_deploy.evaluation.bootstrap import Interval, Matches, difference_interval

SAMPLES = 1000
"""Data sets that are drawn from the images."""

CHANCE = 0.02
"""The most AP beyond a bound that few images may excuse. Rounding moves AP by up to 0.006 on 128 images."""


@dataclass(frozen=True)
class Scores:
    """What a detector reaches on a data set.

    metrics: figures by kind (bbox, segm, keypoints), `AP` among them, as fractions. matches: by kind, where its
    detections are at hand.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    matches: Mapping[str, Matches] = field(default_factory=dict)

    def ap(self, kind: str) -> float | None:
        """AP as a fraction; None where the data set has no object."""
        value = self.metrics[kind]["AP"]
        return None if value is None else float(value)


@dataclass(frozen=True)
class ApLoss:
    """AP of a detector and of one that was made from it, as fractions, on the same images.

    interval: 95 % interval of `before - after` by a paired bootstrap over the images (Efron and Tibshirani 1993);
    None where the detections of one of them are not at hand.
    """

    kind: str
    before: float
    after: float
    interval: Interval | None = None

    @property
    def value(self) -> float:
        """AP that is lost."""
        return self.before - self.after

    def is_above(self, most: float) -> bool:
        """Whether more is lost on these images."""
        return self.value > most

    def is_surely_above(self, most: float) -> bool:
        """Whether more is lost, and not by the choice of the images: they excuse `CHANCE` at most."""
        return surely_above(self.value, None if self.interval is None else self.interval.low, most)

    def text(self) -> str:
        """Both figures, and the interval."""
        known = "" if self.interval is None else f", 95 % interval {_points(self.interval.low, self.interval.high)}"
        return f"{100 * self.value:.2f} {self.kind} AP ({100 * self.before:.2f} to {100 * self.after:.2f}{known})"


def _points(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"


def surely_above(loss: float, low: float | None, most: float) -> bool:
    """Whether a loss is above a bound, and not by chance. low: the lower end of its interval, None where not known."""
    return loss > most and (low is None or loss > most + CHANCE or low > most)


def ap_losses(before: Scores, after: Scores, *, samples: int = SAMPLES) -> list[ApLoss]:
    """What is lost of each kind that both have an AP of. Both were scored on the same images."""
    losses = []
    for kind in before.metrics:
        first, second = before.ap(kind), after.ap(kind)
        if first is not None and second is not None:
            losses.append(ApLoss(kind, first, second, _interval(before, after, kind, samples)))
    return losses


def _interval(before: Scores, after: Scores, kind: str, samples: int) -> Interval | None:
    first, second = before.matches.get(kind), after.matches.get(kind)
    if first is None or second is None or first.n_images != second.n_images or not first.n_images:
        return None
    try:
        return difference_interval(first.resampled(samples, 0), second.resampled(samples, 0))
    except DataError:  # no draw has an object
        return None
