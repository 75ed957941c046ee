"""How often a file's weights are multiplied, for `inspect`, and for inputs of which sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
from lth_deploy.compiler.model.input_sizes import Sizes, sizes_text
from lth_deploy.compiler.model.random_inputs import likely_sizes
from lth_deploy.compiler.planning.size_inference import positions_from, without_weights
from lth_deploy.errors import LthError
from lth_deploy.workflow.inspect.imported_model import OpenedFile
from lth_deploy.workflow.limits.limited_runs import fitting_sizes, inferred_sizes, measured_positions


@dataclass(frozen=True)
class Counted:
    """positions: weight name to multiplications in one inference; none where they are not known.

    metadata: those of the file, with predictions for the sizes that were asked for. notes: what is to be said of it.
    """

    positions: dict[str, int]
    metadata: ArtifactMetadata | None
    notes: tuple[str, ...] = ()


def counted_positions(file: OpenedFile, shapes: Sizes, run: bool) -> Counted:
    """Multiplications of each weight; none where one is not known: a part would mislead.

    From the metadata, by shape inference, or, where `run` asks for it, from a run; for inputs of `shapes` never from
    the metadata.

    Raises:
        UsageError: the shapes are none of this model.
    """
    metadata = file.metadata
    if metadata is not None and metadata.positions and not shapes:
        return Counted(dict(metadata.positions), metadata)
    try:
        sizes = fitting_sizes(file.path, shapes) if run else likely_sizes(file.model, shapes)
        positions, unknown = (measured_positions(file.path, sizes), []) if run else _inferred(file.plain, sizes)
    except LthError as error:
        if shapes:
            raise
        return Counted({}, metadata, (f"MACs are not known: {error}",))
    if unknown:
        return Counted({}, metadata, (_unknown_note(unknown),))
    if metadata is None or not metadata.positions:
        way = "were counted in a run on noise" if run else "follow from the sizes of the inputs"
        return Counted(positions, metadata, (f"MACs {way}: {sizes_text(sizes)}",))
    notes = (_scaled_note(metadata),) if metadata.predicted else ()
    return Counted(positions, scaled(metadata, positions, sizes), notes)


def _unknown_note(layers: Sequence[str]) -> str:
    names = ", ".join(f"'{name}'" for name in layers[:3])
    return (
        f"MACs are not known: the model computes the sizes of {len(layers)} layers while it runs ({names}); "
        "--run counts them, with noise as input"
    )


def _scaled_note(metadata: ArtifactMetadata) -> str:
    before = {name: tuple(shape) for name, shape in metadata.predicted_for.items()}
    said = f" for {sizes_text(before)}" if before else ""
    return f"times are those predicted{said}, in proportion to how often weights are multiplied"


def _inferred(plain: ModelProto, sizes: Sizes) -> tuple[dict[str, int], list[str]]:

    return positions_from(plain, inferred_sizes(without_weights(plain, sizes)))


def scaled(metadata: ArtifactMetadata, positions: dict[str, int], sizes: Sizes) -> ArtifactMetadata:
    """Metadata with predictions for other sizes, in proportion to multiplications; what was measured is left out."""
    before = {name: count for name, count in metadata.positions.items() if count}
    ratio = {name: positions.get(name, 0) / count for name, count in before.items()}
    predicted = {
        name: (sparse * ratio.get(name, 1.0), dense * ratio.get(name, 1.0))
        for name, (sparse, dense) in metadata.predicted.items()
    }
    dense = sum(times[1] for times in metadata.predicted.values())
    whole = sum(times[1] for times in predicted.values()) / dense if dense else 1.0
    rest = None if metadata.rest is None else (metadata.rest[0] * whole, metadata.rest[1] * whole)
    update = {
        "positions": positions,
        "predicted": predicted,
        "rest": rest,
        "rest_by_operator": {name: ms * whole for name, ms in metadata.rest_by_operator.items()},
        "predicted_for": {name: list(shape) for name, shape in sizes.items()},
        "measured": None,
    }
    return metadata.model_copy(update=update)
