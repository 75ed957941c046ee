"""The model that `inspect` looks at: what export would make of it, and what has no row in its table."""

from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.artifact.load import LoadedModel
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, read_metadata
from lth_deploy.compiler.artifact.weight_layers import WeightLayer, weight_layers
from lth_deploy.compiler.artifact.weightless import weightless_notes
from lth_deploy.compiler.importing.imported import imported_silently
from lth_deploy.errors import ArtifactError


@dataclass(frozen=True)
class OpenedFile:
    """A file and the model that export would make of it.

    model: as the file has it. plain: normalized, packed weights left packed. layers: those of `plain`. notes: what
    import did. external_bytes: of the file's external data.
    """

    path: Path
    model: ModelProto
    plain: ModelProto
    layers: list[WeightLayer]
    metadata: ArtifactMetadata | None
    notes: list[str]
    external_bytes: int


def opened(path: Path, loaded: LoadedModel) -> OpenedFile:
    """A loaded file for `inspect`.

    Raises:
        ArtifactError: its metadata or a packed weight are damaged.
    """
    plain, notes = as_imported(loaded.model)
    metadata = read_metadata(loaded.model)
    return OpenedFile(path, loaded.model, plain, weight_layers(plain), metadata, notes, loaded.external_bytes)


def as_imported(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The normalized model, packed weights left packed, with notes; where export refuses it, the model as it is."""
    ours = any(entry.domain == DOMAIN for entry in model.opset_import)
    try:
        imported = imported_silently(model, keep_inputs=ours, keep_packed=True, plain=not ours)
    except ArtifactError as error:
        plain = expand_regions(model)
        return plain, [f"export refuses the model: {error}", *weightless_notes(plain)]
    plain = imported.normalized.proto
    return plain, [f"import: {note}" for note in imported.notes] + weightless_notes(plain)
