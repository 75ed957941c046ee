"""The model that `inspect` looks at: what export would make of it, and what has no row in its table."""

from typing import TYPE_CHECKING

from lth_deploy.errors import ArtifactError

if TYPE_CHECKING:
    from onnx import ModelProto


def as_imported(model: "ModelProto") -> "tuple[ModelProto, list[str]]":
    """The normalized model, packed weights left packed, with notes; where export refuses it, the model as it is."""
    from lth_deploy.compiler.artifact.domain import DOMAIN
    from lth_deploy.compiler.artifact.inline_regions import expand_regions
    from lth_deploy.compiler.artifact.weightless import weightless_notes
    from lth_deploy.compiler.importing.imported import imported_silently

    ours = any(entry.domain == DOMAIN for entry in model.opset_import)
    try:
        imported = imported_silently(model, keep_inputs=ours, keep_packed=True, plain=not ours)
    except ArtifactError as error:
        plain = expand_regions(model)
        return plain, [f"export refuses the model: {error}", *weightless_notes(plain)]
    plain = imported.normalized.proto
    return plain, [f"import: {note}" for note in imported.notes] + weightless_notes(plain)
