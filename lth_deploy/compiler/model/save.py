"""Writing ONNX files so that the same model gives the same bytes."""

from pathlib import Path

from onnx import ModelProto

from lth_deploy import storage
from lth_deploy.errors import ArtifactError

MAX_FILE_BYTES = (1 << 31) - 1
"""Largest protobuf message, and so the largest ONNX file without external data."""


def to_bytes(model: ModelProto) -> bytes:
    """Serialize; equal models give equal bytes.

    Raises:
        ArtifactError: the model is beyond what one ONNX file can hold.
    """
    if model.ByteSize() > MAX_FILE_BYTES:
        raise ArtifactError(
            f"the model has {model.ByteSize()} bytes, one ONNX file holds {MAX_FILE_BYTES}; "
            "use a smaller detector, a sparser level, or --values fp16"
        )
    return bytes(model.SerializeToString(deterministic=True))


def save_model(model: ModelProto, path: Path) -> int:
    """Write a model atomically, and return its size in bytes; see `to_bytes` for what it raises."""
    data = to_bytes(model)
    storage.write_bytes(path, data)
    return len(data)
