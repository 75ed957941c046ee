"""Reading ONNX files that may come from anyone."""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import FunctionProto, ModelProto

from lth_deploy.compiler.artifact.check_regions import check_regions
from lth_deploy.compiler.artifact.domain import (
    DOMAIN,
    DOMAIN_VERSION,
    METADATA_KEY,
    MIN_IR_VERSION,
    MIN_OPSET,
    REGION_NAMES,
)
from lth_deploy.compiler.artifact.inline_regions import expand_regions, has_regions
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.roi_align import check_roi_align, has_roi_align
from lth_deploy.compiler.importing.unpacked import MAX_DENSE_BYTES
from lth_deploy.compiler.model.external_data import read_external_data, refuse_external_data
from lth_deploy.compiler.model.inlined_size import check_inlined_size
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS, standard_opset
from lth_deploy.compiler.model.save import MAX_FILE_BYTES
from lth_deploy.compiler.model.traverse import all_graphs, all_sparse_tensors
from lth_deploy.errors import ArtifactError, DataError
from lth_deploy.formats.base import DECODED_PER_BYTE, FREE_BYTES


@dataclass(frozen=True)
class LoadedModel:
    """A model in one piece, and how many bytes of it were in other files."""

    model: ModelProto
    external_bytes: int


def load_model(path: Path) -> ModelProto:
    """The model of `read_model` alone."""
    return read_model(path).model


def read_model(path: Path) -> LoadedModel:
    """Read and check an ONNX file that may come from anyone.

    Beside the file only external data in its own folder are opened. Every packed weight is decoded once to see that it
    is sound.

    Raises:
        DataError: the file is missing or unreadable.
        ArtifactError: it is too large, no ONNX model, invalid, or refers to files elsewhere.
    """
    try:
        model = onnx.load_model_from_string(_content(path))
    except (DataError, MemoryError):
        raise
    except Exception as error:  # protobuf's DecodeError, without depending on protobuf's own package
        raise ArtifactError(f"{path} is no ONNX model: {error}") from error
    try:
        external = read_external_data(model, path.parent)
        check_model(model)
        if external and any(entry.domain == DOMAIN for entry in model.opset_import):
            raise ArtifactError("a packed file holds all its data; it has external data, so export it again")
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return LoadedModel(model, external)


def _content(path: Path) -> bytes:
    """The bytes of a file, of which the size is looked at first."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ArtifactError(f"cannot read {path}: it is no regular file")
            if found.st_size > MAX_FILE_BYTES:
                raise ArtifactError(f"{path} has {found.st_size} bytes, an ONNX file has at most {MAX_FILE_BYTES}")
            return file.read(found.st_size)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to does not make the program wait."""
    return os.open(path, flags | os.O_NONBLOCK)


def check_model(model: ModelProto) -> None:
    """Hold a model to the rules of ONNX and of our domain; every packed weight is decoded once.

    Raises:
        ArtifactError: the rule that it breaks.
    """
    if not model.graph.node:
        raise ArtifactError("the model has no nodes; it is empty or no ONNX file")
    standard_opset(model)
    refuse_external_data(model)
    check_inlined_size(model)
    _check_sparse(model)
    _refuse_odd_functions(model)
    try:
        with _with_shapes(model):
            onnx.checker.check_model(model)
    except MemoryError:
        raise
    except Exception as error:  # onnx raises ValidationError, and bare RuntimeError, ValueError, UnicodeDecodeError
        lines = str(error).strip().splitlines() or [f"{type(error).__name__} of onnx.checker, without a message"]
        raise ArtifactError(f"not a valid ONNX model: {lines[0][:500]}") from error
    _check_packed(expand_regions(model))
    if has_regions(model) or has_roi_align(model):
        _check_versions(model)
    check_regions(model)
    check_roi_align(model)


@contextmanager
def _with_shapes(model: ModelProto) -> Iterator[None]:
    """Give values that are declared without a shape, which is legal, an empty one while the checker asks for it."""
    values = [one for graph in all_graphs(model.graph) for one in (*graph.input, *graph.output)]
    tensors = [one.type.tensor_type for one in values if one.type.HasField("tensor_type")]
    bare = [one for one in tensors if not one.HasField("shape")]
    for one in bare:
        one.shape.SetInParent()
    try:
        yield
    finally:
        for one in bare:
            one.ClearField("shape")


def _check_versions(model: ModelProto) -> None:
    ours = [entry.version for entry in model.opset_import if entry.domain == DOMAIN]
    if ours != [DOMAIN_VERSION]:
        raise ArtifactError(f"the file has version {ours} of {DOMAIN}, this is {DOMAIN_VERSION}; update lth-deploy")
    if model.ir_version < MIN_IR_VERSION or standard_opset(model) < MIN_OPSET:
        raise ArtifactError(
            f"a packed file has IR version {MIN_IR_VERSION} and opset {MIN_OPSET} or later, found "
            f"{model.ir_version} and {standard_opset(model)}; export it again"
        )


def _check_sparse(model: ModelProto) -> None:
    """Sparse tensors are made dense by who reads them, ONNX Runtime too: all together are bounded by what is stored."""
    claimed = stored = 0
    for sparse in all_sparse_tensors(model):
        claimed += math.prod(max(size, 0) for size in sparse.dims) * 8
        stored += sparse.ByteSize()
    if claimed > 4 * FREE_BYTES + DECODED_PER_BYTE * stored:
        raise ArtifactError(
            f"the sparse tensors claim {claimed} bytes; at most {4 * FREE_BYTES} and {DECODED_PER_BYTE} for each of "
            f"their {stored} stored bytes are allowed"
        )


def _check_packed(model: ModelProto) -> None:
    packed = [weight for weight in stored_weights(model).values() if weight.coding != "dense"]
    if not packed:
        return
    _check_versions(model)
    bodies = {function.name for function in model.functions if function.domain == DOMAIN}
    declared = 0
    for weight in packed:
        if weight.operator not in bodies:
            raise ArtifactError(f"weight '{weight.name}' needs the function {weight.operator}: absent")
        size = 4
        for dimension in weight.shape:
            size *= max(dimension, 0)
        declared += size
    # Before anything is decoded: a few bytes of escapes may claim any number of zeros.
    if declared > MAX_DENSE_BYTES:
        raise ArtifactError(f"the packed weights claim {declared} bytes, at most {MAX_DENSE_BYTES} are allowed")
    for weight in packed:
        weight.weights()


def _refuse_odd_functions(model: ModelProto) -> None:
    """Function bodies of our domain must be plain standard operators: no nesting, no recursion."""
    for function in model.functions:
        if function.domain == DOMAIN and function.name not in REGION_NAMES:
            _refuse_odd_body(function)
    if sum(1 for entry in model.metadata_props if entry.key == METADATA_KEY) > 1:
        raise ArtifactError(f"the metadata entry '{METADATA_KEY}' appears twice")


def _refuse_odd_body(function: FunctionProto) -> None:
    for node in function.node:
        if node.domain not in STANDARD_DOMAINS:
            raise ArtifactError(f"function {function.name} calls {node.domain}.{node.op_type}: not standard")
