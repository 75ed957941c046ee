"""`lowest` takes exactly what a full, stable sort would take."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.errors import TrainingError
from lth_deploy.pruning.ranking.lowest_scores import Candidates, lowest

# Few different values, so that ties are everywhere; among them neighbors that share their upper 16 bits.
NEIGHBORS = [np.float32(1.0), np.nextafter(np.float32(1), np.float32(2)), np.float32(1.0005)]
VALUES = [
    0.0,
    -0.0,
    *(-value for value in map(float, NEIGHBORS)),
    -3e38,
    -1e-42,
    1e-42,
    1e-30,
    0.5,
    *map(float, NEIGHBORS),
    3.0,
    3e38,
]


@st.composite
def layers(draw: st.DrawFn) -> list[Candidates]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 6)))
        size = shape[0] * shape[1]
        scores = draw(st.lists(st.sampled_from(VALUES), min_size=size, max_size=size))
        alive = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        costs: float | npt.NDArray[np.float32] = 1.0
        if draw(st.booleans()):
            drawn = draw(st.lists(st.integers(1, 8), min_size=size, max_size=size))
            costs = np.array(drawn, np.float32).reshape(shape)
        made.append(
            Candidates(
                f"layer{number}", np.array(scores, np.float32).reshape(shape), np.array(alive).reshape(shape), costs
            )
        )
    return made


def by_full_sort(candidates: list[Candidates], budget: float) -> list[npt.NDArray[np.bool_]]:
    falls = [np.zeros(layer.scores.shape, np.bool_) for layer in candidates]
    entries = [
        (float(layer.scores.reshape(-1)[place]), number, place)
        for number, layer in enumerate(candidates)
        for place in range(layer.scores.size)
        if layer.alive.reshape(-1)[place]
    ]
    spent = 0.0
    for _, number, place in sorted(entries):
        if spent >= budget:
            break
        falls[number].reshape(-1)[place] = True
        layer = candidates[number]
        spent += float(np.broadcast_to(layer.cost, layer.scores.shape).reshape(-1)[place])
    return falls


@settings(max_examples=50, derandomize=True, deadline=None)
@given(layers(), st.integers(0, 150))
def test_lowest_equals_a_full_stable_sort(candidates: list[Candidates], budget: int) -> None:
    for got, expected in zip(lowest(candidates, budget), by_full_sort(candidates, budget), strict=True):
        np.testing.assert_array_equal(got, expected)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 600), st.integers(0, 10**6))
def test_exactly_k_entries_fall_when_each_costs_one(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = [
        Candidates(str(n), rng.normal(size=(20, 10)).astype(np.float32) ** 2, np.ones((20, 10), np.bool_), 1.0)
        for n in range(3)
    ]
    assert sum(int(fall.sum()) for fall in lowest(candidates, count)) == count


def test_ties_fall_in_order_of_layer_and_flat_index() -> None:
    candidates = [Candidates(str(n), np.ones((2, 3), np.float32), np.ones((2, 3), np.bool_), 1.0) for n in range(3)]
    first, second, third = lowest(candidates, 8)
    assert first.all()
    assert second.reshape(-1).tolist() == [True, True, False, False, False, False]
    assert not third.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_stop_the_ranking(value: float) -> None:
    scores = np.ones((4, 4), np.float32)
    scores[2, 1] = value
    sound = Candidates("sound", np.ones((2, 2), np.float32), np.ones((2, 2), np.bool_), 1.0)
    sick = Candidates("backbone.sick.weight", scores, np.ones((4, 4), np.bool_), 1.0)
    with pytest.raises(TrainingError, match=r"'backbone\.sick\.weight' has 1 weights that are not finite"):
        lowest([sound, sick], 3)


def test_dead_entries_never_fall_again() -> None:
    alive = np.ones((3, 3), np.bool_)
    alive[0] = False
    (fall,) = lowest([Candidates("a", np.zeros((3, 3), np.float32), alive, 1.0)], 4)
    assert int(fall.sum()) == 4
    assert not fall[0].any()
