"""Masks: which weights of which layer a ticket keeps, as boolean arrays, one bit a weight on disk."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lth_deploy import storage
from lth_deploy.errors import DataError

BoolArray = npt.NDArray[np.bool_]
Masks = dict[str, BoolArray]
"""Parameter name to mask; True keeps a weight. Every mask has the shape of its parameter."""

MAX_ELEMENTS = 1 << 33


def kept(masks: Mapping[str, BoolArray]) -> int:
    """Number of weights that the masks keep."""
    return sum(int(np.count_nonzero(mask)) for mask in masks.values())


def elements(masks: Mapping[str, BoolArray]) -> int:
    """Number of weights under the masks."""
    return sum(mask.size for mask in masks.values())


def sparsity(masks: Mapping[str, BoolArray]) -> float:
    """Share of zeros over all masked weights; 0 when there are none."""
    total = elements(masks)
    return 1.0 - kept(masks) / total if total else 0.0


def save_masks(path: Path, masks: Mapping[str, BoolArray]) -> None:
    """Write the masks bit-packed (row-major, lowest bit first) as safetensors; shapes are in the metadata."""
    from safetensors.numpy import save_file

    bits = {name: np.packbits(mask.reshape(-1), bitorder="little") for name, mask in masks.items()}
    shapes = json.dumps({name: list(mask.shape) for name, mask in masks.items()})
    storage.write_atomically(path, lambda file: save_file(bits, file, metadata={"shapes": shapes}))


def load_masks(path: Path) -> Masks:
    """Read what `save_masks` wrote, in the order of the layers.

    Raises:
        DataError: the file is damaged, or sizes and shapes do not agree.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            shapes = json.loads((file.metadata() or {})["shapes"])
            if set(shapes) != set(file.keys()):
                raise ValueError("the layers with bits are not the layers with shapes")
            return {name: _unpack(name, file.get_tensor(name), shape) for name, shape in shapes.items()}
    except FileNotFoundError as error:
        raise DataError(f"no mask file {path}") from error
    except (
        SafetensorError,
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise DataError(f"{path} is not a mask file: {error}; restore it from a copy of the run") from error


def _unpack(name: str, bits: npt.NDArray[np.uint8], shape: list[int]) -> BoolArray:
    count = 1
    for dimension in shape:
        if type(dimension) is not int or not 0 <= dimension <= MAX_ELEMENTS or count * dimension > MAX_ELEMENTS:
            raise ValueError(f"layer '{name}' has the shape {shape}")
        count *= dimension
    if bits.dtype != np.uint8 or bits.shape != ((count + 7) // 8,):
        raise ValueError(f"layer '{name}': {bits.size} bytes of bits for {count} weights")
    flat = np.unpackbits(bits, bitorder="little")
    if flat[count:].any():
        raise ValueError(f"layer '{name}': padding bits are set")
    return flat[:count].astype(np.bool_).reshape(shape)
