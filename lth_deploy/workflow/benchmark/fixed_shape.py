"""The one shape that all images of a benchmark have once they are prepared, for engines that fix shapes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lth_deploy.errors import UsageError
from lth_deploy.workflow.artifact import ModelFile

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset, ImageRecord

Shapes = Mapping[str, tuple[int, ...]]


def fixed_shapes(file: ModelFile, dataset: "CocoDataset", given: Shapes | None) -> Shapes | None:
    """Shapes of the inputs by name; None where the file fixes them itself, or images have several.

    given: the shapes that the user asks for; without them they are those that every image needs.

    Raises:
        UsageError: an image needs another shape than the given one, or the file has no such input.
        DataError: an image cannot be read.
    """
    if given is None and not _has_open_sizes(file):
        return None
    # Preparing depends on an image's size alone, so one image of each size is enough.
    by_size: dict[tuple[int, int], ImageRecord] = {}
    for record in dataset.images:
        by_size.setdefault((record.width, record.height), record)
    found: Shapes | None = None
    for record in by_size.values():
        needed = _prepared_shapes(file, record)
        if given is not None and needed != {**needed, **given}:
            raise UsageError(
                f"--shape {shape_text(given)}: {record.path.name} needs {shape_text(needed)}; give that shape, or "
                "images of one size"
            )
        if found is not None and needed != found:
            return None
        found = needed
    return found


def shape_text(shapes: Mapping[str, Sequence[int]]) -> str:
    """Shapes in words: 1x3x320x320, with the names of the inputs where there are several."""
    texts = {name: "x".join(map(str, shape)) for name, shape in shapes.items()}
    return (
        next(iter(texts.values())) if len(texts) == 1 else ", ".join(f"{name} {text}" for name, text in texts.items())
    )


def _prepared_shapes(file: ModelFile, record: "ImageRecord") -> Shapes:
    from lth_deploy.data.images import read_record

    feeds, _ = file.decoder.prepare(read_record(record))
    return {name: tuple(value.shape) for name, value in feeds.items()}


def _has_open_sizes(file: ModelFile) -> bool:
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.input_sizes import declared_inputs

    inputs = declared_inputs(load_model(file.path))
    return any(one.dims is None or any(not isinstance(dim, int) for dim in one.dims) for one in inputs)
