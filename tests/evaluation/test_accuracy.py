"""Accuracy over images, and the interval of a difference."""

import numpy as np
import pytest

from lth_deploy.evaluation.accuracy import correct, paired_accuracy


def test_an_answer_counts_among_the_best() -> None:
    truth, answers = {7: 2, 9: 1, 11: 3}, {7: [2, 1, 3], 9: [3, 1, 2], 11: [1, 2, 3]}
    assert correct(truth, answers, 1).tolist() == [True, False, False]
    assert correct(truth, answers, 2).tolist() == [True, True, False]


def test_the_interval_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(4000) < 0.7, rng.random(4000) < 0.6
    found = paired_accuracy(first, second, samples=2000, seed=1)
    difference = first.astype(float) - second
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    assert found.low == pytest.approx(difference.mean() - half, abs=0.004)
    assert found.high == pytest.approx(difference.mean() + half, abs=0.004)
    assert found == paired_accuracy(first, second, samples=2000, seed=1)


def test_equal_answers_differ_by_nothing() -> None:
    same = np.array([True, False, True])
    found = paired_accuracy(same, same, samples=50, seed=0)
    assert (found.low, found.high) == (0, 0)
