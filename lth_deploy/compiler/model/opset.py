"""Which version of the standard operators a model speaks."""

from onnx import ModelProto

from lth_deploy.errors import ArtifactError

STANDARD_DOMAINS = ("", "ai.onnx")
"""The two names of the domain of the standard operators."""


def standard_opset(model: ModelProto) -> int:
    """Version of the standard operators that the model uses.

    Raises:
        ArtifactError: the model does not say.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if not versions:
        raise ArtifactError("the model names no version of the standard operators; it is no complete model")
    return int(versions[0])
