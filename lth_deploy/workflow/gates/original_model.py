"""The gate of `export --onnx`: what is written computes what the file of the user does, run as it was given.

Pruned and rounded weights are put into that file. So whatever was converted, folded or rewritten since is checked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.arrays import Feeds
from lth_deploy.workflow.gates.raw_outputs import hold_raw_outputs

if TYPE_CHECKING:
    from lth_deploy.compiler.importing.imported import ImportedModel
    from lth_deploy.compiler.model.normalized_model import NormalizedModel


def hold_import(
    imported: "ImportedModel", inputs: Sequence[tuple[str, Feeds]], name: str, scratch: Path, tolerance: float
) -> None:
    """Compare what became of a model on import with the original. name: of the user's file.

    Raises:
        ParityError: the normalized model computes something else.
    """
    from lth_deploy.compiler.model.save import save_model

    if not imported.notes:
        return
    original, normalized = scratch / "original.onnx", scratch / "normalized.onnx"
    save_model(imported.original, original)
    save_model(imported.normalized.proto, normalized)
    fault = f"import changes what {name} computes ({'; '.join(imported.notes)})"
    hold_raw_outputs(original, normalized, inputs, tolerance, fault)


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
        ParityError: the file computes something else.
    """
    from lth_deploy.compiler.importing.restored import changed_weights, original_with_weights
    from lth_deploy.compiler.model.save import save_model

    reference = scratch / "reference.onnx"
    save_model(original_with_weights(imported, changed_weights(imported, ticket)), reference)
    return hold_raw_outputs(reference, file, inputs, tolerance)
