"""`analyze` on real, tiny runs and files: its figures are those of the search, and what it cannot do it names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy import analyze, storage  # noqa: E402
from lth_deploy.errors import DataError, UsageError  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.reporting.analysis.schema import Analysis  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.workflow.analyze import run as analyzed_run  # noqa: E402
from lth_deploy.workflow.analyze.options import AnalyzeOptions  # noqa: E402
from lth_deploy.workflow.search.find_ticket import TicketResult, find_ticket  # noqa: E402
from tests.image_folders import draw_folder  # noqa: E402
from tests.tiny_artifact import CLASSES, DECODER, save_data, save_decoder, save_tiny  # noqa: E402
from tests.workflow.ticket_runs import tiny_recipe  # noqa: E402

QUICK = AnalyzeOptions(samples=20, device="cpu")
SHORT = {"steps": 3}


def search(folder: Path, family: str, **sections: object) -> TicketResult:
    return find_ticket(tiny_recipe(family, **{"training": SHORT, "pruning": {"levels": [0.8]}, **sections}), folder)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> TicketResult:
    """A run with two levels and a random control."""
    folder = tmp_path_factory.mktemp("runs") / "boxes"
    return search(folder, "retinanet", pruning={"levels": [0.5, 0.8]})


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> TicketResult:
    """A run of another task and seed, on other images."""
    folder = tmp_path_factory.mktemp("runs") / "masks"
    data = {"shapes": {"train": 4, "val": 2, "test": 3, "width": 64, "height": 64, "seed": 5}}
    return search(folder, "mask_rcnn", controls={"random": []}, data=data, training={**SHORT, "seed": 1})


@pytest.fixture(scope="module")
def analyzed(boxes: TicketResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Path]:
    out = tmp_path_factory.mktemp("analysis")
    return analyze([boxes.run], out, QUICK), out


def test_figures_are_those_that_the_search_recorded(analyzed: tuple[Analysis, Path], boxes: TicketResult) -> None:
    (run,) = analyzed[0].runs
    assert (run.split, run.images, run.notes) == ("test", 2, [])
    (kind,) = run.kinds
    assert kind.control == "dense"
    recorded = {trial.name: trial for trial in boxes.summary.trials}
    assert set(recorded) == {row.trial for row in kind.trials} == {"dense", "level_50", "level_80", "random_80"}
    for row in kind.trials:
        searched = recorded[row.trial].test["bbox"]
        assert row.metrics == pytest.approx({figure: searched[figure] for figure in row.metrics})
        assert row.errors is not None
        assert row.errors.false_positives.count == sum(
            one.count for name, one in row.errors.types.items() if name != "missed"
        )
    assert kind.of("dense").changes == []
    assert len(kind.of("level_80").changes) == len(run.classes)
    assert run.parameters.total == boxes.summary.parameters.total
    assert run.parameters.prunable == boxes.summary.parameters.prunable


def test_layers_and_costs_follow_from_the_masks(analyzed: tuple[Analysis, Path], boxes: TicketResult) -> None:
    (run,) = analyzed[0].runs
    kept = load_masks(RunDirectory.open(boxes.run).trial("level_80").mask)
    ticket = next(trial for trial in run.trials if trial.name == "level_80")
    zeros = {layer.name: layer.zeros for layer in ticket.layers}
    assert set(kept) < set(zeros), "predictors have weights, but no mask"
    assert all(zeros[name] == np.count_nonzero(~mask) for name, mask in kept.items())
    assert all((layer.positions or 0) > 0 for layer in ticket.layers)
    assert ticket.sparsity_all == pytest.approx(sum(zeros.values()) / run.parameters.total)
    whole = {(one.trial, one.name): one.whole for one in run.storage}
    assert whole["dense", "all in fp32"] == 4 * run.parameters.total
    assert whole["level_80", "packed, fp16"] < whole["level_80", "packed, fp32"] < whole["dense", "all in fp32"] / 3
    assert whole["level_80", "packed, fp32"] < whole["level_80", "sparse initializers, fp32"]


def test_random_masks_overlap_by_chance_and_levels_do_not(analyzed: tuple[Analysis, Path]) -> None:
    pairs = {frozenset((one.first, one.second)): one for one in analyzed[0].overlaps}
    assert len(pairs) == 3
    nested = pairs[frozenset(("level_50", "level_80"))]
    assert nested.iou == pytest.approx(0.4, abs=0.001), "the sparser mask is inside the other"
    assert nested.iou > nested.by_chance + 0.05
    random = pairs[frozenset(("level_80", "random_80"))]
    assert random.iou == pytest.approx(random.by_chance, abs=0.01)


def test_page_figures_and_plots_are_written(analyzed: tuple[Analysis, Path]) -> None:
    analysis, out = analyzed
    document = storage.read_json(out / "analysis.json")
    assert document.pop("schema") == "lth-analysis/1"
    assert Analysis.model_validate(document) == analysis
    page = (out / "analysis.html").read_text(encoding="utf-8")
    for title in ("by object size", "by class", "Errors in", "Zeros per layer", "Multiplications", "Overlap of masks"):
        assert title in page
    plots = {file.stem for file in (out / "plots").iterdir()}
    assert {"errors-bbox-cost", "frequency-bbox", "layers", "macs", "bytes", "overlap-layers"} <= plots


def test_a_second_call_takes_the_detections_that_are_there(
    analyzed: tuple[Analysis, Path], boxes: TicketResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(analyzed[1] / "detections", tmp_path / "detections")
    damaged = sorted((tmp_path / "detections").iterdir())[0]
    damaged.write_bytes(b"cut off")
    made = []
    real = analyzed_run._model
    monkeypatch.setattr(analyzed_run, "_model", lambda opened, trial: made.append(trial.name) or real(opened, trial))
    again = analyze([boxes.run], tmp_path, QUICK)
    assert len(made) == 2, "the damaged file, and the control to count multiplications"
    assert again.model_copy(update={"when": ""}) == analyzed[0].model_copy(update={"when": ""})


def test_runs_of_different_tasks_stand_apart_and_share_their_backbone(
    boxes: TicketResult, masks: TicketResult, tmp_path: Path
) -> None:
    analysis = analyze([boxes.run, masks.run], tmp_path, AnalyzeOptions(samples=20, device="cpu", trials=("level_80",)))
    assert [run.name for run in analysis.runs] == ["boxes", "masks"]
    assert [[kind.kind for kind in run.kinds] for run in analysis.runs] == [["bbox"], ["bbox", "segm"]]
    assert any("not all analyzed on the same images" in note for note in analysis.notes)
    (pair,) = analysis.overlaps
    assert (pair.first, pair.second) == ("boxes/level_80", "masks/level_80")
    names = {layer.name for layer in pair.layers}
    assert "backbone.body.layer4.1.conv2.weight" in names
    assert any(name.startswith("roi_heads") for name in pair.left_out)
    plots = {file.stem for file in (tmp_path / "plots").iterdir()}
    assert {"boxes-1-macs", "masks-2-macs", "masks-2-errors-segm-cost"} <= plots


def test_keypoints_are_analyzed_too(tmp_path: Path) -> None:
    run = search(tmp_path / "run", "keypoint_rcnn", controls={"random": []}, training={"steps": 3})
    (one,) = analyze([run.run], tmp_path / "out", QUICK).runs
    assert [kind.kind for kind in one.kinds] == ["bbox", "keypoints"]
    assert all(row.errors for kind in one.kinds for row in kind.trials)


def test_a_classifier_is_analyzed_by_class_and_says_what_is_left_out(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        draw_folder(tmp_path / split, 4, seed=seed)
    folders = {split: {"images": str(tmp_path / split)} for split in ("train", "val", "test")}
    run = search(
        tmp_path / "run",
        "classifier",
        data={"format": "folder", "shapes": {}, **folders},
        training={"steps": 4, "batch_size": 6},
        detector={"min_size": 32, "max_size": 32},
        selection={"metric": "top1", "bootstrap_samples": 50},
    )
    (one,) = analyze([run.run], tmp_path / "out", QUICK).runs
    (kind,) = one.kinds
    assert kind.kind == "top1"
    for row in kind.trials:
        recorded = next(trial for trial in run.summary.trials if trial.name == row.trial)
        assert row.metrics == pytest.approx(recorded.test["top1"])
        assert np.mean(row.classes) == pytest.approx(row.metrics["AP"])
        assert row.errors is None
    assert [info.train_objects for info in one.classes] == [4, 4, 4]
    assert any("no boxes" in note for note in one.notes)
    page = (tmp_path / "out" / "analysis.html").read_text(encoding="utf-8")
    assert "Top-1 accuracy by class" in page
    assert "by object size</h2>" not in page


def test_files_are_compared_with_the_first(tmp_path: Path) -> None:
    data, images = save_data(tmp_path)
    files = [save_tiny(tmp_path / "dense.onnx"), save_tiny(tmp_path / "sparse.onnx", zeros=0.8, shift=8.0)]
    options = AnalyzeOptions(samples=20, data=data, images=images, decoder=save_decoder(tmp_path))
    (run,) = analyze(files, tmp_path / "out", options).runs
    assert (run.source, [info.name for info in run.classes]) == ("files", list(CLASSES))
    (kind,) = run.kinds
    first, second = kind.trials
    assert first.metrics["AP"] == pytest.approx(1)
    assert [row.trial for row in kind.trials] == ["dense", "sparse"]
    assert second.errors is not None
    assert second.errors.types["localization"].count == 8, "moved by 8, the boxes overlap by .25 and .42"
    assert all(change is not None and change.value < 0 for change in second.changes)
    assert run.storage[0].whole == files[0].stat().st_size
    assert any("training data is unknown" in note for note in run.notes)
    assert sum(layer.zeros for layer in run.trials[1].layers) > 0


def test_files_beside_a_run_are_tried_on_its_data(boxes: TicketResult, tmp_path: Path) -> None:
    decoder = tmp_path / "named.py"
    decoder.write_text(DECODER.replace('("cell", "dust")', str(tuple(boxes.summary.dataset.classes[:2]))))
    options = AnalyzeOptions(samples=20, device="cpu", trials=("level_80",), decoder=f"{decoder}:make")
    analysis = analyze([boxes.run, save_tiny(tmp_path / "tiny.onnx")], tmp_path / "out", options)
    run, files = analysis.runs
    assert (files.split, files.images) == ("test of boxes", run.images)
    assert files.classes == run.classes
    assert len(analysis.overlaps) == 0, "there is one mask only"
    assert {"boxes-1-layers", "files-2-layers"} <= {file.stem for file in (tmp_path / "out" / "plots").iterdir()}


def unfinished(boxes: TicketResult, folder: Path) -> Path:
    shutil.copytree(boxes.run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if not name.startswith("trials/")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_what_cannot_be_analyzed_is_refused_in_words(boxes: TicketResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="has no finished trial yet"):
        analyze([unfinished(boxes, tmp_path / "fresh")], out, QUICK)
    with pytest.raises(DataError, match="is no run directory"):
        analyze([tmp_path], out, QUICK)
    with pytest.raises(UsageError, match=r"--trial level_90: .*did you mean"):
        analyze([boxes.run], out, AnalyzeOptions(trials=("level_90",)))
    with pytest.raises(UsageError, match="--split train2"):
        analyze([boxes.run], out, AnalyzeOptions(split="train2"))
    with pytest.raises(UsageError, match="is given twice"):
        analyze([boxes.run, boxes.run / "."], out, QUICK)
    with pytest.raises(UsageError, match="need --data"):
        analyze([save_tiny(tmp_path / "a.onnx")], out, QUICK)
    with pytest.raises(UsageError, match="go together"):
        analyze([tmp_path / "a.onnx"], out, AnalyzeOptions(data=tmp_path / "ann.json"))
    with pytest.raises(UsageError, match="give run directories"):
        analyze([], out, QUICK)
    assert not out.exists(), "nothing is written before everything has been opened"


def test_a_split_without_objects_is_refused_and_names_the_way_out(tmp_path: Path) -> None:
    data, images = save_data(tmp_path)
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({**json.loads(data.read_text()), "annotations": []}))
    with pytest.raises(DataError, match=r"4 images and 0 objects: there is nothing to find .* --split"):
        analyze(
            [save_tiny(tmp_path / "a.onnx")],
            tmp_path / "out",
            AnalyzeOptions(data=empty, images=images, decoder=save_decoder(tmp_path)),
        )


def test_a_run_without_its_control_is_analyzed_without_comparison(boxes: TicketResult, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(boxes.run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["trials/dense/result.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (run,) = analyze([folder], tmp_path / "out", QUICK).runs
    assert run.kinds[0].control is None
    assert all(not row.changes for row in run.kinds[0].trials)
    assert any("nothing is compared" in note for note in run.notes)
