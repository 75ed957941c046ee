"""Arrays that break a rule are refused, each by its own rule."""

from collections.abc import Callable

import numpy as np
import pytest

from lth_deploy.arrays import Arrays
from lth_deploy.compiler.artifact.domain import position_input
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS

SPARSE = [name for name in FORMATS if name != "dense"]


def shape_of(name: str) -> tuple[int, int]:
    """Three blocks of outputs at least, and two of inputs."""
    block = FORMATS.get(name).block
    return max(6, 3 * block.outputs), max(8, 2 * block.inputs)


def valid(name: str, dtype: type[np.generic] = np.float32) -> Arrays:
    """Three weights, each in a block of its own."""
    weights = np.zeros(shape_of(name), dtype)
    weights[[0, len(weights) // 3, -1], [2, 5, -1]] = 1, -2, 3
    return FORMATS.get(name).encode(weights)


def second_unit(value: float) -> Callable[[Arrays, str], object]:
    def apply(arrays: Arrays, key: str) -> None:
        arrays["values"].reshape(3, -1)[1] = value

    return apply


def test_only_fillers_may_be_zero() -> None:
    weights = np.zeros(600, np.float32)
    weights[[3, 500]] = 1, 2
    steps = FORMATS.get("steps8")
    arrays = steps.encode(weights)
    steps.decode(arrays, weights.shape)
    for values, codes in (([0, 0, 2], [3, 255, 240]), ([1, 0, 2], [3, 254, 241]), ([1, 2, 0], [3, 255, 255])):
        wrong = {"steps": np.array(codes, np.uint8), "values": np.array(values, np.float32)}
        with pytest.raises(ArtifactError, match="filler"):
            steps.decode(wrong, weights.shape)


def positions_key(name: str) -> str:
    return position_input(name)


FAULTS: dict[str, Callable[[Arrays, str], object]] = {
    "missing values": lambda a, key: a.pop("values"),
    "missing positions": lambda a, key: a.pop(key),
    "one value too few": lambda a, key: a.update(values=a["values"][:-1]),
    "one value too many": lambda a, key: a.update(values=np.append(a["values"], np.float32(1))),
    "value NaN": second_unit(np.nan),
    "value infinite": second_unit(np.inf),
    "value zero": second_unit(0),
    "values of another type": lambda a, key: a.update(values=a["values"].astype(np.float64)),
    "values in two dimensions": lambda a, key: a.update(values=a["values"][None]),
    "positions of another type": lambda a, key: a.update({key: a[key].astype(np.int8)}),
    "positions in two dimensions": lambda a, key: a.update({key: a[key][None]}),
    "positions cut": lambda a, key: a.update({key: a[key][:-1]}),
    "positions empty": lambda a, key: a.update({key: a[key][:0]}),
    "positions longer": lambda a, key: a.update({key: np.append(a[key], np.full(15, 255, np.uint8))}),
    "all positions set": lambda a, key: a.update({key: np.full_like(a[key], 255)}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SPARSE)
def test_fault_is_refused(name: str, fault: str) -> None:
    arrays = valid(name)
    FORMATS.get(name).decode(arrays, shape_of(name))
    FAULTS[fault](arrays, positions_key(name))
    with pytest.raises(ArtifactError):
        FORMATS.get(name).decode(arrays, shape_of(name))


@pytest.mark.parametrize("name", SPARSE)
def test_a_smaller_shape_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError):
        FORMATS.get(name).decode(valid(name), (shape_of(name)[0] * 2 // 3, 8))


@pytest.mark.parametrize("name", SPARSE)
def test_every_int8_is_a_value(name: str) -> None:
    arrays = valid(name, np.int8)
    assert FORMATS.get(name).decode(arrays, shape_of(name)).min() > -128
    second_unit(-128)(arrays, "")
    assert FORMATS.get(name).decode(arrays, shape_of(name)).min() == -128


@pytest.mark.parametrize(("name", "shape"), [("gaps4:1x4", (8, 6)), ("bitmask:2x4", (3, 16)), ("steps8:2x1", (48,))])
def test_a_shape_of_broken_blocks_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="blocks"):
        FORMATS.get(name).decode(valid(name), shape)


@pytest.mark.parametrize("count", [-1, 1])
def test_a_broken_block_of_values_is_refused(count: int) -> None:
    arrays = valid("bitmask:2x4")
    arrays["values"] = np.resize(arrays["values"], 24 + count)
    with pytest.raises(ArtifactError, match="values are stored"):
        FORMATS.get("bitmask:2x4").decode(arrays, shape_of("bitmask:2x4"))


def test_single_zeros_in_a_kept_block_are_allowed() -> None:
    arrays = valid("gaps4:1x4")
    assert np.count_nonzero(arrays["values"]) == 3 < arrays["values"].size
    assert np.count_nonzero(FORMATS.get("gaps4:1x4").decode(arrays, shape_of("gaps4:1x4"))) == 3


def test_a_set_padding_bit_is_refused() -> None:
    arrays = valid("bitmask")
    arrays["bits"] = np.append(arrays["bits"], np.uint8(0x80))
    arrays["values"] = np.append(arrays["values"], np.float32(1))
    with pytest.raises(ArtifactError, match="padding"):
        FORMATS.get("bitmask").decode(arrays, (7, 7))


def test_escapes_cannot_claim_memory() -> None:
    stream = np.full(1 << 16, 255, np.uint8)
    with pytest.raises(ArtifactError):
        FORMATS.get("gaps8").decode({"gaps": stream, "values": np.zeros(0, np.float32)}, (1 << 29,))


@pytest.mark.parametrize("count", [47, 49])
def test_dense_of_another_length_is_refused(count: int) -> None:
    with pytest.raises(ArtifactError):
        FORMATS.get("dense").decode({"values": np.ones(count, np.float32)}, (6, 8))
