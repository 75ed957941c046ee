"""A model from anywhere, beside the normalized form of it that all passes work on."""

import logging
from dataclasses import dataclass

from onnx import ModelProto

from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.importing.constants import drop_copies, lift_constants
from lth_deploy.compiler.importing.folding import fold_parameters
from lth_deploy.compiler.importing.frozen_inputs import freeze_inputs
from lth_deploy.compiler.importing.functions import inline_functions
from lth_deploy.compiler.importing.half_floats import widen_halves
from lth_deploy.compiler.importing.hoisted import hoist_constants
from lth_deploy.compiler.importing.opsets import raise_versions
from lth_deploy.compiler.importing.parameters import parameters_of
from lth_deploy.compiler.importing.sparse_tensors import densify
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.traverse import all_nodes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedModel:
    """What a user gave, and what the passes work on.

    original: exactly as it was given; never changed. notes: what normalizing it did, one clause each.
    """

    original: ModelProto
    normalized: NormalizedModel
    notes: tuple[str, ...] = ()


def import_model(original: ModelProto, *, keep_inputs: bool = False, keep_packed: bool = False) -> ImportedModel:
    """Normalize a model, dense or packed; the log says what was done.

    keep_inputs: whether initializers that are graph inputs, and that a caller may replace, stay so. keep_packed:
    whether packed weights stay packed, to be looked at.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or an operator cannot be converted exactly.
    """
    imported = imported_silently(original, keep_inputs=keep_inputs, keep_packed=keep_packed)
    if imported.notes:
        log.info("import: %s", "; ".join(imported.notes))
    return imported


def normalize(model: ModelProto) -> NormalizedModel:
    """A model of our own making, or one that needs no notes, as a normalized one: an equal copy where it is that.

    Initializers that are graph inputs stay so.

    Raises:
        ArtifactError: see `import_model`.
    """
    return imported_silently(model, keep_inputs=True).normalized


def imported_silently(original: ModelProto, *, keep_inputs: bool, keep_packed: bool = False) -> ImportedModel:
    """`import_model` without a line in the log.

    Raises:
        ArtifactError: see `import_model`.
    """
    plain = _without_regions(original) if keep_packed else unpack_model(original)
    densify(plain)
    plain, notes = inline_functions(plain)
    notes += freeze_inputs(plain, keep=keep_inputs)
    notes += raise_versions(plain)
    notes += hoist_constants(plain)
    notes += lift_constants(plain, {name for node in all_nodes(plain.graph) for name in parameters_of(node)})
    drop_copies(plain)
    notes += fold_parameters(plain)
    notes += widen_halves(plain)
    return ImportedModel(original, NormalizedModel(plain), tuple(notes))


def _without_regions(model: ModelProto) -> ModelProto:
    """A copy without regions, whatever it had."""
    expanded = expand_regions(model)
    if expanded is not model:
        return expanded
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
