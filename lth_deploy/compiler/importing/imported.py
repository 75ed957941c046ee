"""A model from anywhere, beside the normalized form of it that all passes work on."""

import logging
from dataclasses import dataclass

from onnx import ModelProto

from lth_deploy.compiler.importing.constants import drop_copies, lift_constants
from lth_deploy.compiler.importing.frozen_inputs import freeze_inputs
from lth_deploy.compiler.importing.opsets import raise_versions
from lth_deploy.compiler.importing.sparse_tensors import densify
from lth_deploy.compiler.importing.unpacked import unpack_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedModel:
    """What a user gave, and what the passes work on.

    original: exactly as it was given; never changed. normalized: nothing packed, no sparse initializers, weights as
    dense initializers, operators of opset 13 or later. Each initializer has the name of the value that it is in the
    original. notes: what was done, one clause each.
    """

    original: ModelProto
    normalized: ModelProto
    notes: tuple[str, ...] = ()


def import_model(original: ModelProto, *, keep_inputs: bool = False) -> ImportedModel:
    """Normalize a model, dense or packed; the log says what was done.

    keep_inputs: whether initializers that are graph inputs, and that a caller may replace, stay so.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or an operator cannot be converted exactly.
    """
    normalized, notes = normalize(original, keep_inputs=keep_inputs)
    if notes:
        log.info("import: %s", "; ".join(notes))
    return ImportedModel(original, normalized, tuple(notes))


def normalize(model: ModelProto, *, keep_inputs: bool = True) -> tuple[ModelProto, list[str]]:
    """A normalized copy, and what was done to get it; see `ImportedModel`. The copy of a normalized model is equal.

    Raises:
        ArtifactError: see `import_model`.
    """
    notes: list[str] = []
    plain = unpack_model(model)
    densify(plain)
    notes += freeze_inputs(plain, keep=keep_inputs)
    notes += raise_versions(plain)
    lift_constants(plain)
    drop_copies(plain)
    return plain, notes
