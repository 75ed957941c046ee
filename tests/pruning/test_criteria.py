"""Criteria score as their papers say; they are functions of arrays."""

import numpy as np
import pytest

from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.criteria import CRITERIA, lamp, magnitude, movement, random, snip, synflow


def layer(weights: list[float], signal: list[float] | None = None, name: str = "layer") -> PrunableLayer:
    array = np.array([weights], np.float32)
    return PrunableLayer(name, array, False, 1.0, None if signal is None else np.array([signal], np.float32))


def whole(one: PrunableLayer) -> np.ndarray:
    return np.ones(one.weights.shape, np.bool_)


def test_magnitude_is_the_absolute_value() -> None:
    one = layer([-2.0, 0.0, 1.5])
    assert magnitude(one, whole(one)).tolist() == [[2.0, 0.0, 1.5]]


def test_lamp_divides_by_the_squares_that_are_not_smaller() -> None:
    one = layer([3.0, -1.0, 2.0])
    np.testing.assert_allclose(lamp(one, whole(one)), [[9 / 9, 1 / 14, 4 / 13]], rtol=1e-6)


def test_lamp_leaves_out_what_is_pruned_and_survives_a_dead_layer() -> None:
    one = layer([3.0, -1.0, 2.0])
    np.testing.assert_allclose(lamp(one, np.array([[False, True, True]])), [[0, 1 / 5, 1]], rtol=1e-6)
    assert lamp(one, np.zeros((1, 3), np.bool_)).tolist() == [[0, 0, 0]]


def test_random_belongs_to_layer_and_seed() -> None:
    one, other = layer([1.0] * 50), layer([1.0] * 50, name="other")
    first = random(one, whole(one), 1)
    assert np.array_equal(first, random(one, whole(one), 1))
    assert not np.array_equal(first, random(one, whole(one), 2))
    assert not np.array_equal(first, random(other, whole(other), 1))


def test_sensitivity_is_weight_times_gradient_and_movement_is_signed() -> None:
    one = layer([2.0, -3.0, 0.5], [-1.0, -1.0, 4.0])
    assert snip(one, whole(one)).tolist() == synflow(one, whole(one)).tolist() == [[2.0, 3.0, 2.0]]
    assert movement(one, whole(one)).tolist() == [[-1.0, -1.0, 4.0]]


@pytest.mark.parametrize("name", CRITERIA.names())
def test_scores_have_the_weights_shape_and_type(name: str) -> None:
    one = layer([1.0, -2.0, 3.0], [0.5, 0.25, -1.0])
    scores = CRITERIA.get(name)(one, whole(one), 0)
    assert scores.shape == one.weights.shape
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", [name for name in CRITERIA.names() if CRITERIA.get(name).signal])
def test_a_missing_signal_is_a_fault_of_the_caller(name: str) -> None:
    one = layer([1.0, 2.0])
    with pytest.raises(ValueError, match="'layer' carries no signal"):
        CRITERIA.get(name)(one, whole(one))
