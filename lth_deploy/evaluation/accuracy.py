"""Accuracy of a classifier, and how sure a difference is."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lth_deploy.evaluation.bootstrap import Interval

_DRAWS_AT_ONCE = 2_000_000


def correct(truth: Mapping[int, int], answers: Mapping[int, Sequence[int]], best: int) -> npt.NDArray[np.bool_]:
    """Whether the class of each image is among its `best` first answers, in the order of `truth`.

    Args:
        truth: label by image id.
        answers: labels by image id, best first.
        best: how many answers count.
    """
    return np.array([label in list(answers[image])[:best] for image, label in truth.items()], np.bool_)


def paired_accuracy(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], samples: int, seed: int, confidence: float = 0.95
) -> Interval:
    """Interval of accuracy(first) - accuracy(second) by paired bootstrap over the images (Efron 1979)."""
    difference = first.astype(np.float64) - second
    rng = np.random.default_rng(seed)
    means: list[float] = []
    chunk = max(1, _DRAWS_AT_ONCE // len(difference))
    while len(means) < samples:
        size = (min(chunk, samples - len(means)), len(difference))
        means.extend(difference[rng.integers(0, len(difference), size)].mean(axis=1).tolist())
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(low), float(high), float(np.mean(means)), confidence, samples)
