"""Tensors on the way to a board and back."""

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.boards.replies import Output
from lth_deploy.errors import BoardError

_TYPES: dict[str, int] = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
"""ONNX's numbers of element types that numpy has."""

_NAMES = {number: name for name, number in _TYPES.items()}


def element_type(dtype: "npt.DTypeLike") -> int:
    """ONNX's number of a type.

    Raises:
        BoardError: such values are not sent to a board.
    """
    name = np.dtype(dtype).name
    if name not in _TYPES:
        raise BoardError(f"inputs of the type {name} are not sent to a board")
    return _TYPES[name]


def feed_request(slot: str, feeds: Feeds) -> tuple[list[str], list[memoryview]]:
    """The words and the bytes of a request that keeps inputs under a name.

    Raises:
        BoardError: values of a type that is not sent to a board.
    """
    words, payload = ["feed", slot], []
    for name, value in feeds.items():
        array = np.ascontiguousarray(value)
        words += [name, str(element_type(array.dtype)), "x".join(map(str, value.shape)) or "-"]
        payload.append(memoryview(array.reshape(-1).view(np.uint8).data))
    return words, payload


def read_outputs(described: Sequence[Output], data: bytes, host: str) -> Arrays:
    """Outputs by name, from their description in a reply and the bytes behind it.

    Raises:
        BoardError: they do not fit each other, or are of a type that numpy does not have.
    """
    outputs: Arrays = {}
    memory, at = bytearray(data), 0  # some decoders write into what they get
    for one in described:
        if one.type not in _NAMES:
            raise BoardError(f"{host}: output '{one.name}' has the element type {one.type}, which numpy does not have")
        dtype = np.dtype(_NAMES[one.type]).newbyteorder("<")
        count = prod(one.dims)
        if at + count * dtype.itemsize > len(memory):
            break
        outputs[one.name] = np.frombuffer(memory, dtype, count, at).reshape(one.dims)
        at += count * dtype.itemsize
    if at != len(memory) or len(outputs) != len(described):
        raise BoardError(f"{host} sent outputs of {len(data):,} bytes that do not fit their description")
    return outputs
