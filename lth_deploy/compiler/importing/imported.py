"""A model from anywhere, beside the normalized form of it that all passes work on."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.importing.constants import drop_copies, lift_constants
from lth_deploy.compiler.importing.folding import fold_parameters
from lth_deploy.compiler.importing.frozen_inputs import freeze_inputs
from lth_deploy.compiler.importing.functions import inline_functions
from lth_deploy.compiler.importing.half_floats import widen_halves
from lth_deploy.compiler.importing.hoisted import hoist_constants
from lth_deploy.compiler.importing.opsets import raise_versions
from lth_deploy.compiler.importing.parameters import parameters_of
from lth_deploy.compiler.importing.plain.folded_layer import FoldedLayer
from lth_deploy.compiler.importing.plain.steps import make_plain
from lth_deploy.compiler.importing.sparse_tensors import densify
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.traverse import all_nodes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedModel:
    """What a user gave, and what the passes work on.

    original: exactly as it was given; never changed. notes: what normalizing it did, one clause each. layers: those
    that absorbed operators around them. done: names of steps and of weights that `without` leaves out, in order.
    keep_inputs: with what it was imported.
    """

    original: ModelProto
    normalized: NormalizedModel
    notes: tuple[str, ...] = ()
    layers: tuple[FoldedLayer, ...] = ()
    done: tuple[str, ...] = ()
    keep_inputs: bool = False

    def without(self, names: Collection[str]) -> "ImportedModel":
        """The same model, imported again without some of what was done."""
        return imported_silently(self.original, keep_inputs=self.keep_inputs, plain=True, without=names)


def import_model(original: ModelProto, *, keep_inputs: bool = False) -> ImportedModel:
    """Normalize a model, dense or packed, and bring it to the plain form; the log says what was done.

    keep_inputs: whether initializers that are graph inputs, and that a caller may replace, stay so.

    Raises:
        ArtifactError: a packed or sparse tensor is damaged, or an operator cannot be converted exactly.
    """
    imported = imported_silently(original, keep_inputs=keep_inputs, plain=True)
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


def imported_silently(
    original: ModelProto,
    *,
    keep_inputs: bool,
    keep_packed: bool = False,
    plain: bool = False,
    without: Collection[str] = (),
) -> ImportedModel:
    """`import_model` without a line in the log.

    keep_packed: whether packed weights stay packed, to be looked at. plain: whether to bring the model to the plain
    form; otherwise only weights are computed. without: steps and weights of layers that are left as they are.

    Raises:
        ArtifactError: see `import_model`.
    """
    model = _without_regions(original) if keep_packed else unpack_model(original)
    densify(model)
    model, notes = inline_functions(model)
    notes += freeze_inputs(model, keep=keep_inputs)
    named = {name for node in model.graph.node for name in node.output}
    notes += raise_versions(model)
    notes += hoist_constants(model)
    notes += lift_constants(model, {name for node in all_nodes(model.graph) for name in parameters_of(node)})
    drop_copies(model)
    notes += fold_parameters(model)
    halves = {one.name for one in model.graph.initializer if one.data_type == TensorProto.FLOAT16}
    notes += widen_halves(model)
    if not plain:
        return ImportedModel(original, NormalizedModel(model), tuple(notes))
    form = make_plain(model, named, without=without, halves=halves)
    notes += form.notes
    return ImportedModel(
        original, NormalizedModel(model), tuple(notes), tuple(form.layers), tuple(form.done), keep_inputs
    )


def _without_regions(model: ModelProto) -> ModelProto:
    """A copy without regions, whatever it had."""
    expanded = expand_regions(model)
    if expanded is not model:
        return expanded
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
