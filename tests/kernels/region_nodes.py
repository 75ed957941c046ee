"""Nodes for the tests of the kernel library: a program with random arrays, as a file for its host."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from region_models import Array, Constant, arrays_of, random_constants

from lth_deploy.kernels.instructions import Program
from lth_deploy.kernels.program import parse, text

AnyArray = npt.NDArray[np.generic]
_TYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.int32): 6,
    np.dtype(np.float16): 10,
}


@dataclass(frozen=True)
class RegionNode:
    """weights: dense, one for each of the program. inputs: its activations."""

    program: Program
    weights: list[Constant]
    inputs: list[Array]

    @property
    def constants(self) -> list[AnyArray]:
        """The arrays that the node reads behind its activations."""
        arrays = arrays_of(self.program, self.weights)
        return [np.ascontiguousarray(arrays[number]) for number in sorted(arrays)]


def region_node(source: str, shapes: Sequence[tuple[int, ...]], seed: int = 0, zeros: float = 0.8) -> RegionNode:
    """Random constants, a share `zeros` of the elements of every weight zero."""
    program = parse(source)
    rng = np.random.default_rng(seed)
    weights = random_constants(program, rng, zeros)
    return RegionNode(program, weights, [rng.standard_normal(shape).astype(np.float32) for shape in shapes])


def write_node(path: Path, node: RegionNode) -> Path:
    """The format of lth_deploy/kernels/host/node_file.h."""
    source = text(node.program).encode()
    arrays: list[AnyArray] = [*node.inputs, *node.constants]
    parts = [b"lthnode1", _numbers(len(node.program.outputs), len(source)), source, _numbers(len(arrays))]
    for array in arrays:
        data = np.ascontiguousarray(array).tobytes()
        parts += [_numbers(_TYPES[array.dtype], array.ndim, *array.shape, len(data)), data]
    path.write_bytes(b"".join(parts))
    return path


def read_arrays(path: Path) -> list[Array]:
    """What `lth_host run` wrote: float32 arrays."""
    data, at = path.read_bytes(), 0

    def numbers(count: int) -> tuple[int, ...]:
        nonlocal at
        at += 8 * count
        return struct.unpack(f"<{count}q", data[at - 8 * count : at])

    arrays: list[Array] = []
    for _ in range(numbers(1)[0]):
        _, rank = numbers(2)
        shape = numbers(rank)
        (size,) = numbers(1)
        arrays.append(np.frombuffer(data, np.float32, size // 4, at).reshape(shape))
        at += size
    return arrays


def write_texts(path: Path, texts: Sequence[tuple[int, str]]) -> Path:
    """Programs with the number of inputs of their nodes, for `lth_host parse`."""
    encoded = [(inputs, source.encode()) for inputs, source in texts]
    path.write_bytes(b"".join(_numbers(inputs, len(source)) + source for inputs, source in encoded))
    return path


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)
