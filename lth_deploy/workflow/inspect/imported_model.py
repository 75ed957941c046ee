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
    from lth_deploy.compiler.importing.imported import normalize

    ours = any(entry.domain == DOMAIN for entry in model.opset_import)
    try:
        normalized, notes = normalize(model, keep_inputs=ours, keep_packed=True)
    except ArtifactError as error:
        plain = expand_regions(model)
        return plain, [f"export refuses the model: {error}", *weightless_notes(plain)]
    return normalized, [f"import: {note}" for note in notes] + weightless_notes(normalized)
