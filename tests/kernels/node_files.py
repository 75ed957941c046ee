"""Files of the kernel library's host: nodes, the arrays that it computes, programs to parse."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from lth_deploy.compiler.model.tensor_types import numpy_type

AnyArray = npt.NDArray[np.generic]
_TYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.int32): 6,
    np.dtype(np.int64): 7,
    np.dtype(np.float16): 10,
    numpy_type(TensorProto.BFLOAT16): 16,
}


def write_file(path: Path, op: str, outputs: int, source: str, arrays: Sequence[AnyArray]) -> Path:
    """A node in the format of lth_deploy/kernels/host/node_file.h."""
    parts = [b"lthnode1", _text(op), _numbers(outputs), _text(source), _numbers(len(arrays))]
    for array in arrays:
        data = np.ascontiguousarray(array).tobytes()
        parts += [_numbers(_TYPES[array.dtype], array.ndim, *array.shape, len(data)), data]
    path.write_bytes(b"".join(parts))
    return path


def read_arrays(path: Path) -> list[npt.NDArray[np.float32]]:
    """What `lth_host run` wrote."""
    data, at = path.read_bytes(), 0

    def numbers(count: int) -> tuple[int, ...]:
        nonlocal at
        at += 8 * count
        return struct.unpack(f"<{count}q", data[at - 8 * count : at])

    arrays: list[npt.NDArray[np.float32]] = []
    for _ in range(numbers(1)[0]):
        _, rank = numbers(2)
        shape = numbers(rank)
        (size,) = numbers(1)
        arrays.append(np.frombuffer(data, np.float32, size // 4, at).reshape(shape))
        at += size
    return arrays


def write_texts(path: Path, texts: Sequence[tuple[int, str]]) -> Path:
    """Programs with the number of inputs of their nodes, for `lth_host parse`."""
    path.write_bytes(b"".join(_numbers(inputs) + _text(source) for inputs, source in texts))
    return path


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _numbers(len(encoded)) + encoded


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)
