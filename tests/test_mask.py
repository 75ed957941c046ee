"""Masks on disk: one bit a weight, and nothing believed that the file says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lth_deploy.errors import DataError
from lth_deploy.mask import elements, kept, load_masks, save_masks, sparsity


def _random(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random(shape) < 0.5


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65])
def test_masks_come_back_at_every_length(tmp_path: Path, count: int) -> None:
    mask = _random((count,))
    save_masks(tmp_path / "m", {"layer": mask})
    assert np.array_equal(load_masks(tmp_path / "m")["layer"], mask)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(shapes=st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=4), seed=st.integers(0, 1 << 30))
def test_masks_come_back_with_shapes_and_order(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], seed: int
) -> None:
    # Names in falling order show that the order is kept and not sorted.
    masks = {f"layer{9 - number}.weight": _random(shape, seed) for number, shape in enumerate(shapes)}
    path = tmp_path_factory.mktemp("masks") / "m"
    save_masks(path, masks)
    found = load_masks(path)
    assert list(found) == list(masks)
    for name, mask in masks.items():
        assert found[name].dtype == np.bool_
        assert found[name].shape == mask.shape
        assert np.array_equal(found[name], mask)


def test_a_weight_takes_one_bit(tmp_path: Path) -> None:
    save_masks(tmp_path / "m", {"layer": _random((1000, 800))})
    assert (tmp_path / "m").stat().st_size < 1000 * 800 / 8 + 1000


def test_counts() -> None:
    masks = {"a": np.array([True, False, False, False]), "b": np.array([[True, True]])}
    assert (kept(masks), elements(masks)) == (3, 6)
    assert sparsity(masks) == 0.5
    assert sparsity({}) == 0.0


def _write(path: Path, tensors: dict[str, Any], shapes: object) -> Path:
    text = shapes if isinstance(shapes, str) else json.dumps(shapes)
    save_file(tensors, path, metadata={"shapes": text})
    return path


BITS = np.array([0b101], np.uint8)


@pytest.mark.parametrize(
    ("tensors", "shapes", "words"),
    [
        ({"a": BITS}, {"a": [9]}, "1 bytes of bits for 9 weights"),
        ({"a": BITS}, {"a": [0]}, "1 bytes of bits for 0 weights"),
        ({"a": BITS}, {"a": [2]}, "padding bits are set"),
        ({"a": BITS.astype(np.int8)}, {"a": [3]}, "bytes of bits"),
        ({"a": BITS.reshape(1, 1)}, {"a": [3]}, "bytes of bits"),
        ({"a": BITS}, {"a": [-3]}, "has the shape"),
        ({"a": BITS}, {"a": [3.0]}, "has the shape"),
        ({"a": BITS}, {"a": [True, 3]}, "has the shape"),
        ({"a": BITS}, {"a": [1 << 40, 1 << 40]}, "has the shape"),
        ({"a": BITS[:0]}, {"a": [0, 1 << 70]}, "has the shape"),
        ({"a": BITS}, {"a": "3"}, "has the shape"),
        ({"a": BITS}, {"a": 3}, "not iterable"),
        ({"a": BITS & 1}, {"a": [1] * 100}, "dimension"),
        ({"a": BITS}, {"b": [3]}, "not the layers with shapes"),
        ({"a": BITS, "b": BITS}, {"a": [3]}, "not the layers with shapes"),
        ({"a": BITS}, {"a": [3], "b": [3]}, "not the layers with shapes"),
        ({"a": BITS}, ["a"], "no attribute|indices"),
        ({"a": BITS}, "{", "not a mask file"),
        ({"a": BITS}, "[" * 100_000, "recursion"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    tmp_path: Path, tensors: dict[str, Any], shapes: object, words: str
) -> None:
    path = _write(tmp_path / "m", tensors, shapes)
    with pytest.raises(DataError, match=words) as caught:
        load_masks(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 3


def test_files_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    save_masks(tmp_path / "m", {"layer": _random((100,))})
    whole = (tmp_path / "m").read_bytes()
    for number, data in enumerate((b"", b"PK\x03\x04", whole[:-1], whole[:20], b"\xff" * 8 + whole[8:])):
        path = tmp_path / f"bad{number}"
        path.write_bytes(data)
        with pytest.raises(DataError, match="is not a mask file"):
            load_masks(path)
    save_file({"layer": BITS}, tmp_path / "bare")
    with pytest.raises(DataError, match="is not a mask file: 'shapes'"):
        load_masks(tmp_path / "bare")
    with pytest.raises(DataError, match="no mask file"):
        load_masks(tmp_path / "missing")
    with pytest.raises(DataError, match="is not a mask file"):
        load_masks(tmp_path)
