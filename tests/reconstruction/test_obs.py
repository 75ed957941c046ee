"""Layer-wise OBS against brute force, and against pruning by magnitude."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from lth_deploy.reconstruction.layer import LayerProblem
from lth_deploy.reconstruction.mask_selection import most_zeros, select_kept
from lth_deploy.reconstruction.moments import Moments
from lth_deploy.reconstruction.obs import Problem, fall_apart, falls_of, in_rounds, one_by_one, problem_of
from lth_deploy.structures import RECONSTRUCTED, SINGLE, Block, Groups

Matrix = npt.NDArray[np.float64]


def _moments(seed: int, group: int = 1, rows: int = 4, width: int = 6, bias: bool = True, samples: int = 60) -> Moments:
    """A layer on inputs that depend on each other."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((group, width, width)) + 2 * rng.standard_normal((group, width, 1))
    weights = rng.standard_normal((group, rows, width))
    moments = Moments(weights, rng.standard_normal(group * rows) if bias else None)
    moments.add((rng.standard_normal((group, samples, width)) @ mixing + 0.5).astype(np.float32))
    return moments


def _loss(problem: Problem, row: Matrix, left: tuple[int, ...]) -> float:
    """The least of w H w - 2 w t over weights that are zero outside `left`, found by itself."""
    hessian, target = problem.hessian[0][np.ix_(left, left)], row[list(left)]
    return -float(target @ np.linalg.lstsq(hessian, target, rcond=None)[0]) if left else 0.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bias", [False, True])
def test_each_weight_that_falls_is_the_cheapest_and_costs_what_it_says(seed: int, bias: bool) -> None:
    problem = problem_of(_moments(seed, bias=bias), damping=1e-3)
    always = tuple(range(problem.free, problem.hessian.shape[1]))
    start = problem.target @ problem.inverse
    for row, target in enumerate(problem.target[0]):
        order, costs = fall_apart(problem.inverse[0], start[0, row], np.ones(problem.free, np.bool_))
        left = set(range(problem.free))
        assert sorted(order) == sorted(left)
        for place, cost in zip(order, costs, strict=True):
            now = _loss(problem, target, (*sorted(left), *always))
            after = {one: _loss(problem, target, (*sorted(left - {one}), *always)) - now for one in left}
            assert cost == pytest.approx(min(after.values()), rel=1e-6, abs=1e-9)
            assert after[int(place)] == pytest.approx(cost, rel=1e-6, abs=1e-9)
            left.remove(int(place))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_left_is_the_least_squares_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, weights = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)), rng.standard_normal((1, 3, 6))
    moments = Moments(weights, None)
    moments.add(inputs.astype(np.float32)[None])
    mask = rng.random((1, 3, 6)) < 0.5
    solved = problem_of(moments, damping=0.0).solve(mask)
    for row in range(3):
        at = np.flatnonzero(mask[0, row])
        best = np.linalg.lstsq(inputs[:, at], inputs @ weights[0, row], rcond=None)[0]
        np.testing.assert_allclose(solved[0, row, at], best, rtol=1e-3, atol=1e-4)
        assert not solved[0, row][~mask[0, row]].any()


def test_one_weight_fewer_is_found_by_brute_force() -> None:
    """Rows share the zeros: the first zero of a layer is the best of all."""
    problem = problem_of(_moments(9), damping=1e-3)
    alive = np.ones((1, 4, 6), np.bool_)
    losses = {}
    for row, column in itertools.product(range(4), range(6)):
        left = tuple(one for one in range(7) if one != column)
        losses[row, column] = _loss(problem, problem.target[0, row], left) - _loss(
            problem, problem.target[0, row], tuple(range(7))
        )
    mask = one_by_one(falls_of(problem, alive), alive, 1)
    assert tuple(np.argwhere(~mask[0])[0]) == min(losses, key=lambda place: losses[place])


def test_conjugate_gradients_reach_the_solution() -> None:
    problem = problem_of(_moments(2, group=2), damping=0.01)
    mask = np.random.default_rng(0).random((2, 4, 6)) < 0.6
    near = problem.approach(np.zeros_like(problem.target), mask, 40)
    np.testing.assert_allclose(near, problem.solve(mask), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("width", [24, 320])
def test_outputs_change_less_than_by_magnitude(seed: int, share: float, width: int) -> None:
    moments = _moments(seed, rows=8, width=width, samples=3 * width)
    layer = LayerProblem(moments, 1)
    zeros = round(share * 8 * width)
    found = layer.prune(zeros, SINGLE)
    assert np.count_nonzero(found[..., :width]) == 8 * width - zeros
    assert layer.error(found) < 0.8 * layer.error(layer.by_magnitude(zeros))


def test_taking_weights_out_one_by_one_is_no_worse_than_rounds() -> None:
    problem = problem_of(_moments(4, rows=8, width=40, samples=200), damping=0.01)
    alive = np.ones((1, 8, 40), np.bool_)
    exact = problem.solve(one_by_one(falls_of(problem, alive), alive, 160))
    rounds = in_rounds(problem, alive, 160, 1, SINGLE)[1]
    losses = [float(np.sum((w @ problem.hessian) * w) - 2 * np.sum(w * problem.target)) for w in (exact, rounds)]
    assert losses[0] <= losses[1]


@pytest.mark.parametrize("width", [12, 304])
def test_dead_weights_stay_dead_and_groups_have_their_own_inputs(width: int) -> None:
    moments = _moments(1, group=3, rows=2, width=width, samples=2 * width)
    moments.rows[:, :, ::3] = 0.0
    layer = LayerProblem(moments, 1)
    zeros = round(0.6 * 6 * width)
    found = layer.prune(zeros, SINGLE)
    assert not found[:, :, :width:3].any()
    assert np.count_nonzero(found[..., :width]) == 6 * width - zeros
    assert layer.error(found) < layer.error(layer.by_magnitude(zeros))


@pytest.mark.parametrize("name", RECONSTRUCTED)
def test_units_fall_together(name: str) -> None:
    structure = RECONSTRUCTED[name]
    rng = np.random.default_rng(0)
    # 6 outputs and 10 inputs: smaller blocks at both edges of the larger ones.
    mask = select_kept(rng.random((1, 6, 20)), np.ones((1, 6, 20), np.bool_), 60, 2, structure).reshape(6, 10, 2)
    outputs, inputs = (1, structure.of) if isinstance(structure, Groups) else (structure.outputs, structure.inputs)
    for row, first in itertools.product(range(0, 6, outputs), range(0, 10, inputs)):
        block = mask[row : row + outputs, first : first + inputs]
        if isinstance(structure, Groups):
            assert (block.sum(axis=1) == min(structure.keep, block.shape[1])).all()
        else:
            assert set(block.sum(axis=(0, 1))) <= {0, block[..., 0].size}
    if not isinstance(structure, Groups):
        assert 60 <= np.count_nonzero(~mask) < 60 + outputs * inputs


@pytest.mark.parametrize(
    ("outputs", "structure"), [(48, "single"), (48, "in4"), (48, "16x4"), (64, "32x4"), (40, "16x4")]
)
def test_with_a_floor_every_group_of_outputs_keeps_its_dearest_block(outputs: int, structure: str) -> None:
    block = RECONSTRUCTED[structure]
    assert isinstance(block, Block)
    costs = np.random.default_rng(0).random((1, outputs, 2 * 24))
    costs[:, :16] *= 1e-3
    alive = np.ones(costs.shape, np.bool_)
    zeros = most_zeros(alive, 2, block)
    assert not select_kept(costs, alive, zeros, 2, block)[0, :16].any()
    mask = select_kept(costs, alive, zeros, 2, block, floor=True)
    group = max(16, block.outputs)
    kept = [mask[0, first : first + group] for first in range(0, outputs, group)]
    assert all(one.sum() <= block.size for one in kept)
    assert all(one.any() for one in kept)
    assert np.count_nonzero(~mask) >= zeros
    (best,) = select_kept(costs[:, :16], alive[:, :16], 16 * 48 - block.size, 2, block)
    if structure != "32x4":
        assert np.array_equal(mask[0, :16], best)
    few = zeros // 2
    assert np.array_equal(
        select_kept(costs[:, 16:], alive[:, 16:], few // 2, 2, block, floor=True),
        select_kept(costs[:, 16:], alive[:, 16:], few // 2, 2, block),
    )


@pytest.mark.parametrize("width", [24, 304])
def test_no_group_of_outputs_of_a_layer_is_emptied(width: int) -> None:
    moments = _moments(3, rows=32, width=width, samples=2 * width)
    moments.rows[:, :16] *= 1e-4
    zeros = round(0.7 * 32 * width)
    found = LayerProblem(moments, 1).prune(zeros, SINGLE)[..., :width]
    assert np.count_nonzero(found) == 32 * width - zeros
    assert np.count_nonzero(found[:, :16]) == 1


def test_the_curve_rises_from_zero() -> None:
    curve = LayerProblem(_moments(0, rows=16, width=24, samples=100), 1).curve(SINGLE)
    assert curve[0] == 0.0
    assert (np.diff(curve) >= 0).all()
    assert 0 < curve[-1] <= 1.0
