"""The gate of `export --onnx`: what is written computes what the file of the user does, run as it was given.

Pruned and rounded weights are put into that file. So whatever was converted, folded or rewritten since is checked.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.arrays import Feeds
from lth_deploy.errors import ArtifactError, ParityError
from lth_deploy.workflow.gates.raw_outputs import hold_raw_outputs

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.importing.imported import ImportedModel
    from lth_deploy.compiler.model.normalized_model import NormalizedModel

log = logging.getLogger(__name__)


MOST_LEFT_OUT = 3
"""So many rewrites are searched for that change too much; with more, none is made."""


NAMED = 6


def hold_import(
    imported: "ImportedModel", inputs: Sequence[tuple[str, Feeds]], name: str, scratch: Path, tolerance: float
) -> "ImportedModel":
    """Compare what became of a model on import with the original, and leave out rewrites that change too much.

    Folding changes roundings, by which a detector that sorts its boxes may exchange two of them. name: of the user's
    file. Returns the model with as much rewritten as computes the same; the log says what was left out.

    Raises:
        ParityError: without any rewrite the normalized model computes something else.
    """
    left: list[str] = []
    candidate = imported
    while (error := _difference(candidate, inputs, name, scratch, tolerance)) is not None:
        if not candidate.done:
            raise error
        log.debug("%s", error)
        left += _culprit(candidate, left, inputs, scratch, tolerance) if len(left) < MOST_LEFT_OUT else candidate.done
        candidate = imported.without(left)
    if left:
        log.warning("import: left out, because outputs would deviate by more than %g: %s", tolerance, _listed(left))
    return candidate


def _culprit(
    imported: "ImportedModel", left: list[str], inputs: Sequence[tuple[str, Feeds]], scratch: Path, tolerance: float
) -> list[str]:
    """The first of what was done with which, after all before it, outputs differ; all of it where nothing helps."""
    names = list(imported.done)
    good, bad = 0, len(names)
    if _difference(imported.without([*left, *names]), inputs, "", scratch, tolerance) is not None:
        return names
    while bad - good > 1:
        middle = (good + bad) // 2
        tried = imported.without([*left, *names[middle:]])
        if _difference(tried, inputs, "", scratch, tolerance) is None:
            good = middle
        else:
            bad = middle
    return [names[bad - 1]]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown


def _difference(
    imported: "ImportedModel", inputs: Sequence[tuple[str, Feeds]], name: str, scratch: Path, tolerance: float
) -> ParityError | None:
    """What the normalized model computes otherwise than the original; None where it computes the same."""
    from lth_deploy.compiler.model.save import save_model

    if not imported.notes:
        return None
    original, normalized = scratch / "original.onnx", scratch / "normalized.onnx"
    save_model(imported.original, original)
    save_model(imported.normalized.proto, normalized)
    fault = f"import changes what {name} computes ({'; '.join(imported.notes)})"
    try:
        hold_raw_outputs(original, normalized, inputs, tolerance, fault)
    except ParityError as error:
        return error
    return None


def hold_original(
    imported: "ImportedModel",
    ticket: "NormalizedModel",
    file: Path,
    inputs: Sequence[tuple[str, Feeds]],
    scratch: Path,
    tolerance: float,
) -> float:
    """Compare a file with the original that has the weights of a ticket; the largest relative deviation.

    ticket: the normalized model with pruned and rounded weights.

    Raises:
        ParityError: the file computes something else. ArtifactError: because the original is packed and damaged.
    """
    from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
    from lth_deploy.compiler.model.save import save_model

    reference = scratch / "reference.onnx"
    save_model(original_with_weights(imported, changed_weights(imported, ticket)), reference)
    try:
        return hold_raw_outputs(reference, file, inputs, tolerance)
    except ParityError:
        _hold_functions(imported.original, inputs, scratch, tolerance)
        raise


def _hold_functions(
    original: "ModelProto", inputs: Sequence[tuple[str, Feeds]], scratch: Path, tolerance: float
) -> None:
    """Compare a packed model, whose functions say how it is decoded, with the same model decoded as its format says.

    Raises:
        ArtifactError: both compute something else.
    """
    from lth_deploy.compiler.importing.unpacked import unpack_model
    from lth_deploy.compiler.model.save import save_model

    packed, decoded = scratch / "packed.onnx", scratch / "decoded.onnx"
    save_model(original, packed)
    save_model(unpack_model(original), decoded)
    try:
        hold_raw_outputs(packed, decoded, inputs, tolerance)
    except ParityError as error:
        raise ArtifactError(
            "the file is damaged: a function in it computes something else than export/FORMAT.md and export/REGION.md "
            "say of its name; export the original again. Nothing was written"
        ) from error
