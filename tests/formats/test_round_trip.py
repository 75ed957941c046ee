"""Laws that every sparse format keeps."""

import math
import re

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lth_deploy.arrays import Array
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS, LOAD_ZEROS, choose, entropy_bound, occupancy
from lth_deploy.formats.base import checked_elements
from lth_deploy.formats.blocks import join_blocks
from lth_deploy.structures import BLOCKS, SINGLE, Block

SPARSE = [name for name in FORMATS if name != "dense"]


def sparse_weights(zeros: float, dtype: type, shape: tuple[int, ...] = (64, 48, 3, 3), seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal(shape).astype(dtype)
    weights[rng.random(shape) < zeros] = 0
    return weights


@st.composite
def tensors(draw: st.DrawFn) -> Array:
    dtype = draw(st.sampled_from([np.float32, np.float16, np.int8]))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=9))
    if len(shape) > 1:
        shape = (2 * shape[0], 4 * shape[1], *shape[2:])  # whole blocks of every size
    mask = draw(hnp.arrays(np.bool_, shape))
    if dtype is np.int8:
        return np.where(mask, draw(hnp.arrays(dtype, shape, elements=st.integers(-128, 127))), dtype(0))
    width = 32 if dtype is np.float32 else 16
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return np.where(mask, draw(hnp.arrays(dtype, shape, elements=finite)), dtype(0)).astype(dtype)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(weights=tensors(), name=st.sampled_from(FORMATS.names()))
def test_decode_gives_the_tensor_back(weights: Array, name: str) -> None:
    form = FORMATS.get(name)
    assume(form.supports(weights))
    arrays = form.encode(weights)
    again = form.decode(arrays, weights.shape)
    assert again.dtype == weights.dtype
    assert np.array_equal(again, weights)
    assert form.nbytes(arrays) == form.size(occupancy(weights, form.block)) == sum(a.nbytes for a in arrays.values())


@pytest.mark.parametrize("name", FORMATS.names())
@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("size", [1, 7, 8, 4099])
def test_long_gaps_and_odd_sizes(name: str, zeros: float, size: int) -> None:
    form = FORMATS.get(name)
    shape = (size,) if form.block == SINGLE else (form.block.outputs, size * form.block.inputs)
    weights = join_blocks(
        np.repeat(sparse_weights(zeros, np.float32, (size, 1), size), form.block.size, 1), shape, form.block
    )
    assert np.array_equal(form.decode(form.encode(weights), weights.shape), weights)


@pytest.mark.parametrize("name", [name for name in SPARSE if name != "bitmask" and ":" not in name])
@pytest.mark.parametrize("shift", [-1, 0, 1])
@pytest.mark.parametrize("multiple", [1, 2])
def test_gaps_at_the_edge_of_an_escape(name: str, shift: int, multiple: int) -> None:
    escape = (1 << int(re.sub("[a-z]", "", name))) - 1
    weights = np.zeros(3 * escape + 9, np.float32)
    weights[multiple * escape + shift] = 1.5
    weights[-1] = -2.5
    form = FORMATS.get(name)
    assert np.array_equal(form.decode(form.encode(weights), weights.shape), weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("zeros", [0.0, 0.05, 0.3, 0.5, 0.75, 0.8, 0.9, 0.955, 0.97, 0.98, 0.995, 0.998])
def test_the_smallest_format_is_near_the_entropy(dtype: type, zeros: float) -> None:
    weights = sparse_weights(zeros, dtype, (128, 128, 3, 3))
    form = FORMATS.get(choose(weights, "size"))
    assert form.nbytes(form.encode(weights)) <= 1.08 * entropy_bound(weights)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.5, 0.8, 0.9, 0.955, 0.98, 0.995])
def test_blocks_are_near_the_entropy_of_their_own_positions(dtype: type, zeros: float, block: Block) -> None:
    rng = np.random.default_rng(0)
    # Of single bytes more: the padding is a share of very few bytes.
    outputs, inputs = (256, 128) if block == SINGLE else (64, 32)
    rows = rng.integers(1, 100, (outputs * inputs * 9, block.size)).astype(dtype)
    rows[rng.random(len(rows)) < zeros] = 0
    weights = join_blocks(rows, (outputs * block.outputs, inputs * block.inputs, 3, 3), block)
    name = choose(weights, "size")
    form = FORMATS.get(name)
    assert form.nbytes(form.encode(weights)) <= 1.08 * entropy_bound(weights, block=block)
    if 0.3 <= zeros < 0.99 and block != SINGLE:
        assert form.block == block


def test_blocks_are_stored_in_rows_of_inputs_tap_by_tap() -> None:
    weights = np.zeros((4, 8, 1, 2), np.int8)
    weights[2:4, 4:8, 0, 1] = np.arange(1, 9).reshape(2, 4)
    arrays = FORMATS.get("bitmask:2x4").encode(weights)
    assert arrays["bits"].tolist() == [1 << 7]  # of 2 x 2 x 1 x 2 blocks the last
    assert arrays["values"].tolist() == list(range(1, 9))


def test_bitmask_layout_is_lowest_bit_first() -> None:
    weights = np.array([1, 0, 2, 0, 0, 0, 0, 0, 3], np.float32)
    arrays = FORMATS.get("bitmask").encode(weights)
    assert arrays["bits"].tolist() == [0b101, 1]
    assert arrays["values"].tolist() == [1, 2, 3]


def test_gap_layout_is_low_nibble_first_with_escapes() -> None:
    weights = np.zeros(40, np.float32)
    weights[[0, 3, 34]] = 1, 2, 3
    # gaps 0, 2, 30: codes 0, 2, 15, 15, 0 and one padding code
    assert FORMATS.get("gaps4").encode(weights)["gaps"].tolist() == [0x20, 0xFF, 0xF0]


def test_steps_fill_long_gaps_with_stored_zeros() -> None:
    weights = np.zeros(1000, np.float32)
    weights[[3, 259, 900]] = 1, 2, 3  # gaps of 3, 255 and 640 zeros
    arrays = FORMATS.get("steps8").encode(weights)
    assert arrays["steps"].tolist() == [3, 255, 255, 255, 128]
    assert arrays["values"].tolist() == [1, 2, 0, 0, 3]


def test_load_preference_stores_moderate_sparsity_in_full() -> None:
    assert choose(sparse_weights(LOAD_ZEROS - 0.1, np.float32), "load") == "dense"
    assert choose(sparse_weights(0.9, np.float32), "load") == "steps8"


def test_non_finite_weights_are_left_dense() -> None:
    weights = sparse_weights(0.9, np.float32)
    weights.flat[5] = np.nan
    assert choose(weights) == "dense"
    assert not any(FORMATS.get(name).supports(weights) for name in SPARSE)


@pytest.mark.parametrize(("elements", "nonzeros"), [(10, 0), (10, 10)])
def test_entropy_of_certain_positions_is_zero(elements: int, nonzeros: int) -> None:
    weights = np.array([1.0] * nonzeros + [0.0] * (elements - nonzeros), np.float32)
    assert entropy_bound(weights) == nonzeros * 4


def test_entropy_of_a_coin_is_one_bit() -> None:
    weights = np.array([0, 1] * 512, np.float32)
    assert math.isclose(entropy_bound(weights, 2), 1024 / 8 + 512 * 2)


@pytest.mark.parametrize("shape", [[], [0], [3, -1], [1 << 20, 1 << 20], [1] * 9])
def test_impossible_shapes_are_refused(shape: list[int]) -> None:
    with pytest.raises(ArtifactError):
        checked_elements(shape)
