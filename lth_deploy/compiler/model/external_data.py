"""Tensors that a model keeps in files beside it, which today's exporters write by default (`model.onnx.data`).

`load_model` alone reads them, so that every pass sees a model in one piece. The file names come from the model, so
they are hostile: nothing outside the model's folder is opened, and no link is followed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

from onnx import ModelProto, TensorProto

from lth_deploy.compiler.model.save import MAX_FILE_BYTES
from lth_deploy.compiler.model.tensor_types import numpy_type
from lth_deploy.compiler.model.traverse import all_tensors
from lth_deploy.errors import ArtifactError

_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}
"""Types of which a byte holds several elements."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class _Stored:
    """Where the bytes of one tensor are."""

    tensor: TensorProto
    location: str
    offset: int
    length: int


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor keeps its data in another file, or claims to."""
    return bool(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data)


def refuse_external_data(model: ModelProto) -> None:
    """Only `load_model` knows a model's folder; a model in memory must be in one piece.

    Raises:
        ArtifactError: a tensor keeps its data in another file.
    """
    for tensor in all_tensors(model):
        if is_external(tensor):
            raise ArtifactError(f"tensor '{tensor.name}' keeps its data in another file; load the model from its path")


def read_external_data(model: ModelProto, folder: Path) -> int:
    """Put the data of files beside the model into it, in place; return how many bytes were read.

    folder: where the model lies; every file must lie in it or in a folder inside it.

    Raises:
        ArtifactError: a path that leaves the folder, a link, a place outside the file, a length that is not that of
            the tensor, or more data than one file can hold. Nothing was read then.
    """
    stored = [_place(tensor) for tensor in all_tensors(model) if is_external(tensor)]
    total = sum(one.length for one in stored)
    whole = total + model.ByteSize()
    if whole > MAX_FILE_BYTES:
        raise ArtifactError(
            f"the model has {whole} bytes with its external data, one ONNX file holds {MAX_FILE_BYTES}; use a smaller "
            "model, or store its weights as float16"
        )
    with ExitStack() as opened:
        files: dict[str, int] = {}
        for one in stored:
            if one.location not in files:
                files[one.location] = _open(folder, one.location)
                opened.callback(os.close, files[one.location])
            size = os.fstat(files[one.location]).st_size
            if one.offset + one.length > size:
                raise ArtifactError(
                    f"tensor '{one.tensor.name}' has {one.length} bytes at {one.offset} of {one.location}, which has "
                    f"{size} bytes; copy the file again"
                )
        for one in stored:
            one.tensor.raw_data = _read(files[one.location], one)
            one.tensor.ClearField("external_data")
            one.tensor.ClearField("data_location")
    return total


def _place(tensor: TensorProto) -> _Stored:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in entries:
            raise ArtifactError(f"tensor '{tensor.name}' says twice what the {entry.key} of its data is")
        entries[entry.key] = entry.value
    if tensor.data_location != TensorProto.EXTERNAL or "location" not in entries or tensor.HasField("raw_data"):
        raise ArtifactError(f"tensor '{tensor.name}' does not say clearly where its data are; save the model again")
    expected = _expected_bytes(tensor)
    offset = _number(tensor, entries, "offset", 0)
    length = _number(tensor, entries, "length", expected)
    if length != expected:
        raise ArtifactError(
            f"tensor '{tensor.name}' has {length} bytes of external data, its type and shape need {expected}"
        )
    return _Stored(tensor, _checked_location(tensor, entries["location"]), offset, length)


def _expected_bytes(tensor: TensorProto) -> int:
    known = tensor.data_type in TensorProto.DataType.values()
    name = TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
    if not known or name in ("UNDEFINED", "STRING") or any(dimension < 0 for dimension in tensor.dims):
        raise ArtifactError(
            f"tensor '{tensor.name}' has the type {name} and the shape {list(tensor.dims)[:16]}, which external data "
            "cannot have"
        )
    bits = _BITS.get(name) or 8 * numpy_type(tensor.data_type).itemsize
    return int(prod(tensor.dims) * bits + 7) // 8


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ArtifactError(f"tensor '{tensor.name}' has the {key} '{text[:40]}' in its file; it must be a number")
    return int(text)


def _checked_location(tensor: TensorProto, location: str) -> str:
    parts = [part for part in location.split("/") if part != "."]
    if "\\" in location or "\0" in location or not parts or any(part in ("", "..") for part in parts):
        raise ArtifactError(
            f"tensor '{tensor.name}' keeps its data in '{location[:200]}'; only files in the model's own folder are "
            "read, named by a relative path"
        )
    return "/".join(parts)


def _open(folder: Path, location: str) -> int:
    """A descriptor of a regular file below `folder`; no part of the path may be a link."""
    *folders, name = location.split("/")
    with ExitStack() as passed:
        try:
            here = os.open(folder, _OPEN_FOLDER)
            passed.callback(os.close, here)
            for part in folders:
                here = os.open(part, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=here)
                passed.callback(os.close, here)
            found = os.open(name, _OPEN_FILE, dir_fd=here)
        except OSError as error:
            raise ArtifactError(
                f"cannot read the external data {folder / location}: {error.strerror or error}; it must be a file "
                "beside the model, and no link"
            ) from error
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise ArtifactError(f"cannot read the external data {folder / location}: it is no regular file")
    return found


def _read(descriptor: int, stored: _Stored) -> bytes:
    return b"".join(_chunks(descriptor, stored))


def _chunks(descriptor: int, stored: _Stored) -> Iterator[bytes]:
    position, end = stored.offset, stored.offset + stored.length
    while position < end:
        try:
            chunk = os.pread(descriptor, min(end - position, 1 << 28), position)
        except OSError as error:
            raise ArtifactError(f"cannot read {stored.location}: {error.strerror or error}") from error
        if not chunk:
            raise ArtifactError(f"{stored.location} became shorter while it was read; copy the file again")
        position += len(chunk)
        yield chunk
