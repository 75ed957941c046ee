"""Checkpoints of detectron2 in pickle files: numpy arrays and plain containers, and nothing that runs.

The names that a pickle may call are the few that numpy writes for arrays, and each is replaced by a class of this file,
so that nothing of a pickle reaches numpy but bytes whose number has been checked.
"""

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lth_deploy.errors import DataError

_KINDS = "fiu"
MAX_DIMENSIONS = 8
_CORE = ("numpy.core", "numpy._core")


class _Type:
    """In place of `numpy.dtype`: a number type in little-endian order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"an array of type {code}")

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">":
            raise pickle.UnpicklingError("an array in big-endian order")


class _Array:
    """In place of `numpy.ndarray`: filled from bytes."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, in_fortran_order, content = state
        if isinstance(content, str):  # Python 2 wrote it
            content = content.encode("latin-1")
        valid = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and isinstance(content, bytes)
        if not valid or not all(isinstance(size, int) and size >= 0 for size in shape) or not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array without type, shape or bytes")
        if math.prod(shape) * kind.dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"an array of shape {shape} in {len(content)} bytes")
        self.value = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if in_fortran_order else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(kind: _Type, content: bytes) -> Any:
    return np.frombuffer(content, kind.dtype, count=1)[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """In place of `_codecs.encode`, with which protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding[:40]}")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    """In place of `bytes`, with which protocol 2 writes that there are none."""
    if arguments:
        raise pickle.UnpicklingError("bytes made of something else")
    return b""


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORE},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    ("collections", "OrderedDict"): dict,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The replacement of an allowed name.

        Raises:
            UnpicklingError: any other name.
        """
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it calls {module}.{name}"[:200])
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what stands outside of the file."""
        raise pickle.UnpicklingError("it refers to something outside of the file")


def read_pickle(path: Path) -> Any:
    """Plain containers with numpy arrays as leaves.

    Raises:
        DataError: the file cannot be read, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _plain(_load(file))
    except OSError as error:
        raise DataError(f"cannot read the checkpoint {path}: {error}") from error
    # What a damaged pickle raises is open: its operations work on whatever stands on its stack.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path}: not a checkpoint that can be read safely ({reason}); it may hold numpy arrays, numbers, texts, "
            "lists and dictionaries only: save the state of the model again"
        ) from error


def _load(file: BinaryIO) -> Any:
    # Checkpoints that Python 2 wrote have texts in Latin-1.
    return _Unpickler(file, encoding="latin1").load()


def _plain(content: Any) -> Any:
    if isinstance(content, _Array):
        return content.value
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
