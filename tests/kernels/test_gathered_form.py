"""Layers of bytes whose zeros come in blocks of 16 or 32 outputs: matrix tiles of gathered lines, and all others."""

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.values import Window
from tests.kernels.dense_programs import DENSE, layer, window
from tests.kernels.held import hold
from tests.kernels.region_models import Array, Constant, model_of, open_model, random_constants, run_model

TILE = 16 * 64 + 16 * 8
"""Bytes of 16 rows by 16 cells of weights, and of the places that the cells are read from."""

# Windows with and without shared columns, lines read where they lie, outputs and cells that fill no block.
SHAPES = [
    (64, 64, window(3, 1)),
    (64, 96, window(3, 2)),
    (100, 33, window(3, 1)),
    (3, 64, window(7, 2)),
    (64, 48, window(1, 1)),
    (72, 32, window(1, 1)),
    (64, 32, window(1, 2)),
    (32, 20, window(5, 1)),
    (40, 64, Window((2, 3), (3, 1), (1, 0, 0, 2))),
]


def constants_of(program: Program, outputs: int, zeros: float, seed: int) -> list[Constant]:
    """Constants whose weight, the first, keeps blocks of `outputs` x 4 at random."""
    rng = np.random.default_rng(seed)
    constants = random_constants(program, rng, 0.0)
    dims = program.weights[0].dims
    kept = rng.random((-(-dims[0] // outputs), -(-dims[1] // 4), *dims[2:])) >= zeros
    kept = kept.repeat(outputs, axis=0).repeat(4, axis=1)[: dims[0], : dims[1]]
    nonzero = np.where(constants[0] == 0, 1, constants[0])
    constants[0] = np.where(kept, nonzero, 0).astype(np.int8)
    return constants


def tiles_of(weight: Constant, outputs: int) -> int:
    """Matrix tiles of 16 places for each `outputs` rows, times the groups of 16 rows that share them."""
    cells = -(-weight.shape[1] // 4)
    padded = np.zeros((weight.shape[0], 4 * cells, *weight.shape[2:]), np.bool_)
    padded[:, : weight.shape[1]] = weight != 0
    places = padded.reshape(weight.shape[0], cells, 4, -1).any(axis=2)
    groups = [places[first : first + outputs].any(axis=0).sum() for first in range(0, weight.shape[0], outputs)]
    return sum(-(-int(count) // 16) for count in groups)


def weight_bytes(program: Program, constants: list[Constant], library: Path, x: Array, folder: Path) -> int:
    """Bytes of the packed weights of the program's layers, which share them."""
    profile = folder / "profile.jsonl"
    profile.unlink(missing_ok=True)
    with mock.patch.dict(os.environ, LTH_PROFILE=str(profile)):
        session = open_model(model_of(program, constants), library)
        run_model(session, [x])
        del session
    return int(json.loads(profile.read_text())["weight_bytes"])


@pytest.mark.parametrize("zeros", [0.7, 0.9, 1.0])
@pytest.mark.parametrize("outputs", [16, 32])
@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_every_shape_of_the_gathered_form(kernels: Path, number: int, outputs: int, zeros: float) -> None:
    program = layer(*SHAPES[number], residual=True)
    constants = constants_of(program, outputs, zeros, number)
    rng = np.random.default_rng(number)
    for size in ((41, 67), (5, 3)):
        hold(program, constants, [rng.standard_normal((2, SHAPES[number][0], *size)).astype(np.float32)], kernels)


@pytest.mark.parametrize("outputs", [16, 32])
@pytest.mark.parametrize("zeros", [0.8, 0.9])
@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_only_places_with_weights_are_stored(kernels: Path, outputs: int, zeros: float, tmp_path: Path) -> None:
    program = layer(64, 64, window(3, 1))
    constants = constants_of(program, outputs, zeros, 1)
    x = np.zeros((1, 64, 16, 16), np.float32)
    dense = constants_of(program, outputs, 0.0, 1)
    others = weight_bytes(program, dense, kernels, x, tmp_path) - dense[0].size
    tiles = tiles_of(constants[0], outputs) * (TILE + (16 * 64 if outputs == 32 else 0))
    starts = 4 * (64 // outputs + 1)
    assert weight_bytes(program, constants, kernels, x, tmp_path) == tiles + starts + others


@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_zeros_without_blocks_of_outputs_are_not_gathered(kernels: Path, tmp_path: Path) -> None:
    """The places of 16 rows together then are most places: dense, or the kernels that skip zeros."""
    program = layer(64, 64, window(3, 1))
    x = np.zeros((1, 64, 16, 16), np.float32)
    whole = weight_bytes(program, constants_of(program, 1, 0.0, 2), kernels, x, tmp_path)
    assert weight_bytes(program, constants_of(program, 2, 0.8, 2), kernels, x, tmp_path) == whole
    assert weight_bytes(program, constants_of(program, 1, 0.95, 2), kernels, x, tmp_path) < 0.2 * whole
    assert tiles_of(constants_of(program, 1, 0.95, 2)[0], 16) * TILE > 0.5 * whole


@pytest.mark.parametrize("outputs", [16, 32])
def test_all_instruction_sets_compute_the_same_bytes(instruction_sets: dict[str, Path], outputs: int) -> None:
    """Files with these blocks run everywhere: without matrix tiles by the kernels that skip zeros."""
    for number, shape in enumerate([SHAPES[0], SHAPES[1], SHAPES[4]]):
        program = layer(*shape, residual=True)
        constants = constants_of(program, outputs, 0.8, number)
        x = np.random.default_rng(number).standard_normal((1, shape[0], 21, 30)).astype(np.float32)
        first: list[Array] = []
        for name, library in instruction_sets.items():
            with mock.patch.dict(os.environ, LTH_ISA=name.split()[0]):
                found = run_model(open_model(model_of(program, constants), library), [x])
            first = first or found
            for one, other in zip(first[:2], found[:2], strict=True):
                assert np.array_equal(one, other), name
            np.testing.assert_allclose(first[2], found[2], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("outputs", [16, 32])
@pytest.mark.parametrize("kernels", DENSE, indirect=True)
def test_threads_divide_groups_that_share_their_places_as_wholes(kernels: Path, outputs: int) -> None:
    program = layer(64, 128, window(3, 1), residual=True)
    model = model_of(program, constants_of(program, outputs, 0.85, 3))
    x = np.random.default_rng(3).standard_normal((1, 64, 9, 12)).astype(np.float32)
    together = open_model(model, kernels, threads=4)
    first = run_model(open_model(model, kernels), [x])
    for _ in range(3):  # the first call of four threads divides the work as one does
        for one, other in zip(first, run_model(together, [x]), strict=True):
            assert np.array_equal(one, other)
