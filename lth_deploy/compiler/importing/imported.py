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
from lth_deploy.compiler.model.traverse import all_nodes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedModel:
    """What a user gave, and what the passes work on.

    original: exactly as it was given; never changed. normalized: nothing packed, no sparse initializers, no functions
    but ours, weights as dense initializers, operators of opset 13 or later. Each parameter of a layer has the name of
    the value that it is in the original. notes: what was done, one clause each.
    """

    original: ModelProto
    normalized: ModelProto
    notes: tuple[str, ...] = ()


def import_model(original: ModelProto, *, keep_inputs: bool = False, keep_packed: bool = False) -> ImportedModel:
    """Normalize a model, dense or packed; the log says what was done.

    keep_inputs: whether initializers that are graph inputs, and that a caller may replace, stay so. keep_packed:
    whether packed weights stay packed, to be looked at.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or an operator cannot be converted exactly.
    """
    normalized, notes = normalize(original, keep_inputs=keep_inputs, keep_packed=keep_packed)
    if notes:
        log.info("import: %s", "; ".join(notes))
    return ImportedModel(original, normalized, tuple(notes))


def normalize(
    model: ModelProto, *, keep_inputs: bool = True, keep_packed: bool = False
) -> tuple[ModelProto, list[str]]:
    """A normalized copy, and what was done to get it; see `import_model`. The copy of a normalized model is equal.

    Raises:
        ArtifactError: see `import_model`.
    """
    plain = ModelProto()
    plain.CopyFrom(expand_regions(model) if keep_packed else unpack_model(model))
    densify(plain)
    plain, notes = inline_functions(plain)
    notes += freeze_inputs(plain, keep=keep_inputs)
    notes += raise_versions(plain)
    notes += hoist_constants(plain)
    notes += lift_constants(plain, {name for node in all_nodes(plain.graph) for name in parameters_of(node)})
    drop_copies(plain)
    notes += fold_parameters(plain)
    notes += widen_halves(plain)
    return plain, notes
