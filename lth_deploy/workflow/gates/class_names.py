"""The gate of class names: a file whose names are permuted finds the same boxes and calls them something else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.errors import ParityError
from lth_deploy.run.directory import RunDirectory
from lth_deploy.workflow.artifact import ModelFile

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.decoders import Decoder

Named = tuple[int | None, str]
"""Category id, where it is known, and name of a class; the label is the position, counted from 1."""


def classes_of(metadata: "ArtifactMetadata | None") -> list[Named]:
    """The classes that metadata name, in the order of their labels."""
    return [] if metadata is None else [(entry.id, entry.name) for entry in metadata.classes]


def first_difference(expected: Sequence[Named], found: Sequence[Named]) -> str | None:
    """In words the first label on which two lists disagree; None where they agree. Unknown ids agree with any."""
    for label in range(1, max(len(expected), len(found)) + 1):
        if label > len(expected) or label > len(found):
            more, other = (found, expected) if label > len(expected) else (expected, found)
            return (
                f"label {label} is {_text(more[label - 1])} in one list of {len(more)}, the other ends at {len(other)}"
            )
        named, wanted = found[label - 1], expected[label - 1]
        ids_differ = None not in (named[0], wanted[0]) and named[0] != wanted[0]
        if named[1] != wanted[1] or ids_differ:
            return f"label {label} is {_text(named)}, expected is {_text(wanted)}"
    return None


def hold_classes(what: str, found: Sequence[Named], source: str, expected: Sequence[Named], advice: str) -> None:
    """Hold the classes of a file to those of its source; `what` and `source` say in words what they are.

    Raises:
        ParityError: they differ; names the first label on which they do.
    """
    difference = first_difference(expected, found)
    if difference is not None:
        raise ParityError(f"{what} names other classes than {source}: {difference}; {advice}")


def hold_written_classes(file: Path, source: str, expected: Sequence[Named]) -> None:
    """Hold the classes in the metadata of the file on disk to those of the model that it was made of.

    Raises:
        ParityError: they differ. ArtifactError: the file is damaged.
    """
    import onnx

    from lth_deploy.compiler.artifact.metadata import read_metadata

    found = classes_of(read_metadata(onnx.load_model(file, load_external_data=False)))
    hold_classes(file.name, found, source, expected, "nothing was exported, please report this")


def named_classes(original: "ModelProto", decoder: "Decoder | None") -> list[Named]:
    """The classes that a model names, or else its decoder; none where neither does."""
    from lth_deploy.compiler.artifact.metadata import read_metadata
    from lth_deploy.decoders.model.class_names import category_ids

    found = classes_of(read_metadata(original))
    names = decoder.class_names if decoder is not None else None
    if found or not names:
        return found
    return list(zip(category_ids(names), names, strict=True))


def hold_trained_classes(run: RunDirectory, dataset: "CocoDataset") -> None:
    """Hold today's annotations to the classes that the run was trained on, in their order.

    Raises:
        ParityError: they differ; names the first label on which they do.
    """
    described = storage.read_json(run.summary).get("dataset") if run.summary.exists() else None
    known = described.get("classes") if isinstance(described, dict) else None
    if isinstance(known, list):
        expected, found = ([(None, str(name)) for name in names] for names in (known, dataset.class_names))
        advice = "restore the annotations of the training, since labels are numbers; nothing was exported"
        hold_classes("the run's data set", found, f"{run.path}, when it was trained,", expected, advice)


def hold_control_classes(file: ModelFile, control: ModelFile, *, beside: bool = False) -> None:
    """Hold an artifact to the classes of its dense control; of two unrelated files nothing is asked.

    They are related where the artifact names the control's digest, or both come from one recipe. beside: the control
    was found beside the artifact.

    Raises:
        ParityError: they name other classes, or in another order.
    """
    own, other = file.metadata, control.metadata
    if own is None or other is None or not own.classes or not other.classes:
        return
    same_recipe = own.recipe_digest is not None and own.recipe_digest == other.recipe_digest
    if beside or same_recipe or own.control_sha256 == storage.sha256(control.path):
        what, source = str(file.path), f"its dense control {control.path}"
        hold_classes(what, classes_of(own), source, classes_of(other), "one of them was changed: export again")


def control_beside(file: ModelFile) -> Path | None:
    """The dense control that `export` wrote beside an artifact, if it is there and is the one that it names."""
    path = file.path.parent / "dense.onnx"
    if file.metadata is None or file.metadata.control_sha256 is None or not path.is_file():
        return None
    return path if storage.sha256(path) == file.metadata.control_sha256 else None


def permutation_note(model: Sequence[Named], dataset: Sequence[Named]) -> str | None:
    """A note where a data set pairs the model's category ids and names in another way; None elsewhere.

    Labels are matched by name, as two data sets may number the same classes differently; so this may be right.
    """
    same = {one[0] for one in model} == {one[0] for one in dataset} and {one[1] for one in model} == {
        one[1] for one in dataset
    }
    if not same or dict(model) == dict(dataset):
        return None
    names = dict(dataset)
    number, name = next(one for one in model if names[one[0]] != one[1])
    return (
        f"the data set has the model's classes under other ids: category {number} is '{name}' in the model and "
        f"'{names[number]}' in the data set; labels are matched by name, so one of both lists may be permuted"
    )


def _text(one: Named) -> str:
    number, name = one
    return f"'{name}'" if number is None else f"'{name}' (category {number})"
