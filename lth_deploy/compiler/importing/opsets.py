"""Raising a model to the versions of operators and file format that packed files need."""

import logging

from onnx import ModelProto, version_converter

from lth_deploy.compiler.domain import MIN_IR_VERSION, MIN_OPSET
from lth_deploy.compiler.opset import standard_opset
from lth_deploy.errors import ArtifactError

logger = logging.getLogger(__name__)


def raise_versions(model: ModelProto) -> ModelProto:
    """Raise opset and file version to what function bodies need."""
    opset = standard_opset(model)
    if opset < MIN_OPSET:
        logger.warning("the model has opset %d; converting it to 18, which the output gate checks", opset)
        try:
            model = version_converter.convert_version(model, 18)
        except Exception as error:  # the converter raises bare RuntimeError and its own types
            raise ArtifactError(
                f"opset {opset} is older than {MIN_OPSET} and could not be converted: {error}; "
                f"export the model again with opset {MIN_OPSET} or later"
            ) from error
    if model.ir_version < 4:
        # Before version 4 every initializer had to be listed as an input; nobody meant to replace weights.
        names = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, MIN_IR_VERSION)
    return model
