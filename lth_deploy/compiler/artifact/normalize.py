"""The normalized form of a model, for passes that are also called on their own."""

from onnx import ModelProto

from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.importing.unpacked import MAX_DENSE_BYTES, unpack_model

__all__ = ["MAX_DENSE_BYTES", "prepare", "unpack_model"]


def prepare(model: ModelProto) -> ModelProto:
    """A normalized copy; see `ImportedModel`.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or an operator cannot be converted exactly.
    """
    return normalize(model)[0]
