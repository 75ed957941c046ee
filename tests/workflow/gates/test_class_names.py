"""The gate of class names: permuted, missing or other names are found, and unrelated files are left in peace."""

from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
from lth_deploy.compiler.model.save import save_model
from lth_deploy.errors import ParityError
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.evaluate import evaluate
from lth_deploy.workflow.gates.class_names import Named, first_difference, hold_written_classes, permutation_note
from tests.tiny_artifact import CLASSES, IDS, save_data, tiny_model

TRUE = list(zip(IDS, CLASSES, strict=True))
SWAPPED = [TRUE[1], TRUE[0], *TRUE[2:]]


def _saved(path: Path, classes: list[tuple[int, str]], **more: str) -> Path:
    model = tiny_model(0, 0.0)
    named = [ClassName(id=number, name=name) for number, name in classes]
    write_metadata(model, ArtifactMetadata(decoder="lth", classes=named, format="dense", **more))  # type: ignore[arg-type]
    save_model(model, path)
    return path


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        ([(1, "cat"), (2, "dog")], [(1, "cat"), (2, "dog")], None),
        ([(None, "cat")], [(7, "cat")], None),
        ([(1, "cat"), (2, "dog")], [(2, "dog"), (1, "cat")], "label 1 is 'dog' (category 2), expected is 'cat'"),
        ([(1, "cat"), (2, "dog")], [(1, "cat"), (3, "dog")], "label 2 is 'dog' (category 3), expected is 'dog'"),
        ([(1, "cat"), (2, "dog")], [(1, "cat")], "label 2 is 'dog' (category 2) in one list of 2, the other ends at 1"),
        ([], [(1, "cat")], "label 1 is 'cat'"),
    ],
)
def test_the_first_difference_is_named(expected: list[Named], found: list[Named], words: str | None) -> None:
    difference = first_difference(expected, found)
    assert difference is None if words is None else words in str(difference)


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    file = _saved(tmp_path / "model.onnx", SWAPPED)
    hold_written_classes(file, "source.onnx", SWAPPED)
    with pytest.raises(ParityError, match=r"model\.onnx names other classes than source\.onnx: label 1"):
        hold_written_classes(file, "source.onnx", TRUE)


def test_benchmark_refuses_an_artifact_with_other_names_than_its_control(tmp_path: Path) -> None:
    save_data(tmp_path)
    dense = _saved(tmp_path / "control.onnx", TRUE)
    artifact = _saved(tmp_path / "ticket.onnx", SWAPPED, control_sha256=storage.sha256(dense))
    options = BenchmarkOptions(engines=("onnxruntime",), seconds=0.05, loads=1, bootstrap=20)
    with pytest.raises(ParityError, match=r"ticket\.onnx names other classes than its dense control"):
        benchmark([artifact], tmp_path / "annotations.json", tmp_path / "images", baseline=dense, options=options)


def test_evaluate_looks_at_the_control_beside(tmp_path: Path) -> None:
    save_data(tmp_path)
    dense = _saved(tmp_path / "dense.onnx", TRUE)
    artifact = _saved(tmp_path / "model.onnx", SWAPPED, control_sha256=storage.sha256(dense))
    with pytest.raises(ParityError, match="label 1"):
        evaluate(artifact, tmp_path / "annotations.json", tmp_path / "images")
    _saved(tmp_path / "dense.onnx", SWAPPED)  # another file of that name is no control of it
    found = evaluate(artifact, tmp_path / "annotations.json", tmp_path / "images")
    assert not any("permuted" in note for note in found.ap.notes)


def test_evaluate_says_where_ids_and_names_are_paired_in_another_way(tmp_path: Path) -> None:
    save_data(tmp_path)
    crossed = [(TRUE[1][0], TRUE[0][1]), (TRUE[0][0], TRUE[1][1]), *TRUE[2:]]
    found = evaluate(_saved(tmp_path / "model.onnx", crossed), tmp_path / "annotations.json", tmp_path / "images")
    assert any("one of both lists may be permuted" in note for note in found.ap.notes)
    assert permutation_note(TRUE, SWAPPED) is None
    assert permutation_note(TRUE, [(number + 1, name) for number, name in TRUE]) is None
