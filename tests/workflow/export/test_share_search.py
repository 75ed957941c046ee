"""`export --onnx --max-ap-drop` without `--sparsity`: the largest share of zeros that keeps AP, on known curves."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import ModelProto
from PIL import Image

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.config.target import Target
from lth_deploy.errors import DataError, GateError, UsageError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.export import onnx_accuracy
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.export.onnx_pruning import Pruner
from lth_deploy.workflow.export.share_search.bisection import MOST, largest, most_tries
from lth_deploy.workflow.export.share_search.inputs import digests
from lth_deploy.workflow.export.share_search.search import Candidates, find_share
from lth_deploy.workflow.export.share_search.state import FILE, SearchState
from lth_deploy.workflow.export.share_search.tries import Bounds, Try, try_rows
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.workflow.export.graded_model import STEP, save_graded

FP32 = Target(values="fp32", profile=False)


@pytest.mark.parametrize("limit", [0, 1, 2, 47, 48, 49, 94, 95, 200])
def test_bisection_finds_the_limit_in_the_tries_that_it_says(limit: int) -> None:
    asked = []

    def keeps(percent: int) -> bool:
        asked.append(percent)
        return percent <= limit

    assert largest(keeps) == min(limit, MOST)
    assert len(asked) == len(set(asked)) <= most_tries()


def curve(ap: Callable[[float], float], int8: Callable[[float], float], counted: list[float]) -> Candidates[float]:
    """A model is its share of zeros."""

    def measured(share: float, is_enough: Callable[[Scores], bool]) -> Scores:
        counted.append(share)
        return scores(int8(share))

    return Candidates(
        pruned=lambda share: share, zeros=lambda share: share, float_ap=lambda share: scores(ap(share)), ap=measured
    )


def scores(ap: float | None) -> Scores:
    return Scores({"bbox": {"AP": ap}})


def test_int8_is_tried_without_zeros_first_and_not_where_floats_have_lost_too_much(tmp_path: Path) -> None:
    counted: list[float] = []
    candidates = curve(lambda share: 0.5 - 0.2 * share, lambda share: 0.498 - 0.2 * share, counted)
    found = find_share(candidates, 0.05, 0.005, SearchState(tmp_path, {}))
    assert found.percent == 24  # 0.048 by zeros, 0.002 by int8
    assert counted[0] == 0
    assert max(counted) <= 0.25
    lost = [one for one in found.tries if one.ap is None]
    assert lost
    assert all(one.percent > 25 for one in lost)
    header, *rows = try_rows(found.bounds, found.tries)
    assert header == ["asked %", "zeros %", "float AP", "AP", "lost", "verdict"]
    assert rows[0] == ["0", "0.0", "50.0", "49.8", "0.2", "kept"]
    assert rows[-1][3:] == ["-", f"{20 * lost[-1].percent / 100:.1f}", "lost before int8"]


def test_int8_that_costs_more_than_its_own_bound_is_not_kept(tmp_path: Path) -> None:
    candidates = curve(lambda share: 0.5, lambda share: 0.499 - (0.1 if share > 0.3 else 0), [])
    found = find_share(candidates, 0.2, 0.005, SearchState(tmp_path, {}))
    assert found.percent == 30
    assert {row[-1] for row in try_rows(found.bounds, found.tries)[1:]} == {"kept", "int8 costs too much"}
    with pytest.raises(GateError, match=r"int8 without zeros has 49\.0 of .* 50\.0, and int8 costs more than the 0\.5"):
        find_share(curve(lambda _: 0.5, lambda _: 0.49, []), 0.2, 0.005, SearchState(tmp_path / "b", {}))
    with pytest.raises(GateError, match=r"int8 without zeros has 20\.0 .* more than the 10 that --max-ap-drop allows"):
        find_share(curve(lambda _: 0.5, lambda _: 0.2, []), 0.1, 0.005, SearchState(tmp_path / "c", {}))


def test_a_wider_bound_goes_on_with_what_is_known(tmp_path: Path) -> None:
    counted: list[float] = []
    candidates = curve(lambda share: 0.5 - 0.2 * share, lambda share: 0.5 - 0.2 * share, counted)
    assert find_share(candidates, 0.05, 0.005, SearchState(tmp_path, {})).percent == 25
    before = len(counted)
    assert find_share(candidates, 0.05, 0.005, SearchState(tmp_path, {})).percent == 25
    assert len(counted) == before
    assert find_share(candidates, 0.1, 0.005, SearchState(tmp_path, {})).percent == 50
    assert len(counted) > before
    assert len(counted) == len(set(counted))


@pytest.fixture
def graded(tmp_path: Path) -> tuple[Path, OnnxJob]:
    model, data, images, decoder = save_graded(tmp_path / "graded")
    return model, OnnxJob(data=data, images=images, decoder=decoder, max_ap_drop=2.4 * STEP)


def test_the_share_and_the_ap_of_each_try_are_those_of_the_curve(graded: tuple[Path, OnnxJob]) -> None:
    model, job = graded
    made = export_onnx(model, job, target=FP32)
    assert made.search is not None
    # Two of ten weights may go, and of 25 %, which is 2.5 weights, the half is rounded to two.
    assert made.search.percent == 25
    assert made.sparsity == pytest.approx(0.2)
    assert (made.dense_ap, made.ap) == (pytest.approx(1.0), pytest.approx(1 - 2 * STEP))
    assert {one.percent for one in made.search.tries} >= {25, 26}
    for one in made.search.tries:
        assert one.zeros == pytest.approx(round(one.percent / 10) / 10)
        assert one.ap == pytest.approx(1 - 10 * one.zeros * STEP)
    assert made.search.sentence() == "25 % zeros is the largest share that keeps AP within 12 points of 100.0: 90.0"
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.level == "magnitude_25"
    record = json.loads(made.report.read_text())["search"]
    assert record["percent"] == 25
    assert len(record["tries"]) == len(made.search.tries)


def test_an_interrupted_search_goes_on(
    graded: tuple[Path, OnnxJob], monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    model, job = graded
    honest, scored = onnx_accuracy.box_scores, []

    def interrupted(file: Path, data: Path, images: Path, *, decoder: str | None) -> Scores:
        scored.append(file)
        if len(scored) == 4:
            raise KeyboardInterrupt
        return honest(file, data, images, decoder=decoder)

    monkeypatch.setattr(onnx_accuracy, "box_scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(model, job, target=FP32)
    assert not (model.parent / "graded-export").exists()
    known = json.loads((model.parent / "graded-export-search" / FILE).read_text())
    assert known["dense_ap"] == pytest.approx(1.0)
    assert [one["percent"] for one in known["tries"]] == [48, 24]
    made = export_onnx(model, job, target=FP32)
    assert made.search is not None
    assert made.search.percent == 25
    # The dense model, two tries and one that was interrupted; then the graphs of the tries that were left, and the
    # dense file. The artifact packs nothing, so that its graph is that of a try, and is not scored again.
    left = {one.zeros for one in made.search.tries if one.percent not in (48, 24)}
    assert len(scored) == 4 + len(left) + 1


def test_the_share_that_was_found_is_not_pruned_again(
    graded: tuple[Path, OnnxJob], monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    asked: list[float] = []
    honest = Pruner.pruned

    def counted(self: Pruner, share: float | None) -> object:
        asked.extend([share] if share else [])
        return honest(self, share)

    monkeypatch.setattr(Pruner, "pruned", counted)
    made = export_onnx(graded[0], graded[1], target=FP32)
    assert made.search is not None
    assert sorted(asked) == [one.percent / 100 for one in made.search.tries]


def test_int8_is_given_more_care_where_less_loses_too_much(tmp_path: Path) -> None:
    asked: list[tuple[float, bool]] = []

    def careful(share: float, is_enough: Callable[[Scores], bool]) -> Scores:
        little = scores(0.499 if share < 0.2 else 0.49)
        asked.append((share, is_enough(little)))
        return little if asked[-1][1] else scores(0.499 if share < 0.4 else 0.49)

    candidates = replace(curve(lambda share: 0.5, lambda share: 0.5, []), ap=careful)
    found = find_share(candidates, 0.2, 0.005, SearchState(tmp_path, {}))
    assert found.percent == 39
    assert all(enough == (share < 0.2) for share, enough in asked)


def test_what_int8_costs_by_chance_ends_no_search(tmp_path: Path) -> None:
    bounds = Bounds(0.5, 0.05, 0.005)
    lost, may_be = Try(30, 0.3, 0.49, 0.48, 0.006), Try(30, 0.3, 0.49, 0.48, 0.002)
    assert not bounds.keeps(lost)
    assert bounds.keeps(may_be)
    assert not bounds.keeps(may_be, strict=True)
    state = SearchState(tmp_path, {})
    state.tried(may_be)
    assert SearchState(tmp_path, {}).tries == {30: may_be}


def test_the_digest_of_each_input_changes_with_it_alone(graded: tuple[Path, OnnxJob]) -> None:
    model, job = graded
    assert job.data is not None
    assert job.images is not None
    job = replace(job, calibrate=job.images, one_shot="obs")
    named = Path(str(job.decoder).rpartition(":")[0])
    other = load_model(model)
    other.graph.initializer[0].name = "other"
    known = digests(load_model(model), job, FP32)

    def changed(model_: ModelProto | None = None, job_: OnnxJob = job, target: Target = FP32) -> set[str]:
        found = digests(load_model(model) if model_ is None else model_, job_, target)
        return {name for name in known if found[name] != known[name]}

    assert changed(other) == {"model"}
    assert changed(target=Target(values="fp16", profile=False)) == {"options"}
    assert changed(target=Target(values="fp32", profile=True)) == set()
    assert changed(job_=replace(job, one_shot="magnitude")) == {"options"}
    assert changed(job_=replace(job, max_ap_drop=0.5)) == set()
    job.data.write_text(job.data.read_text() + "\n")
    assert changed() == {"annotations"}
    named.write_text(named.read_text() + "\n# changed\n")
    assert changed() == {"annotations", "decoder"}
    image = Image.open(job.images / "1.png")
    image.putpixel((0, 0), (9, 9, 9))
    image.save(job.images / "1.png")
    assert changed() == {"annotations", "decoder", "images", "calibration images"}


def test_with_another_input_the_search_starts_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted: list[float] = []
    candidates = curve(lambda share: 1.0, lambda share: 1.0, counted)
    inputs = {"model": "a", "images": "b", "options": "c"}
    find_share(candidates, 0.1, None, SearchState(tmp_path, inputs))
    with caplog.at_level(logging.WARNING):
        assert SearchState(tmp_path, inputs).tries
        assert "starts anew" not in caplog.text
        assert not SearchState(tmp_path, {**inputs, "model": "x", "options": "y"}).tries
    assert "was measured with another model, options, so the search starts anew" in caplog.text


@pytest.mark.parametrize("content", ["{", '{"inputs": {}, "tries": [{"percent": 500}]}', "[]"])
def test_a_damaged_record_of_tries_is_left_behind(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert SearchState(tmp_path, {}).tries == {}
    assert "cannot be read, so the search starts anew" in caplog.text


def test_where_no_share_keeps_the_ap_nothing_is_written(
    graded: tuple[Path, OnnxJob], monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    figures = iter([0.5, *[0.4] * most_tries()])
    monkeypatch.setattr(onnx_accuracy.ApOf, "__call__", lambda *_: scores(next(figures)))
    with pytest.raises(GateError, match=r"1 % zeros has 40\.0 of the dense model's 50\.0, more than the 5 that"):
        export_onnx(graded[0], replace(graded[1], max_ap_drop=0.05), target=FP32)
    assert not (graded[0].parent / "graded-export").exists()


def test_a_bound_with_no_zeros_asked_for_is_a_bound_alone(graded: tuple[Path, OnnxJob]) -> None:
    made = export_onnx(graded[0], replace(graded[1], sparsity=0.0), target=FP32)
    assert made.search is None
    assert (made.sparsity, made.ap) == (0.0, pytest.approx(1.0))
    assert not (graded[0].parent / "graded-export-search").exists()


def test_the_working_folder_may_be_the_output(
    graded: tuple[Path, OnnxJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = export_onnx(graded[0], graded[1], target=FP32, out=Path())
    assert made.search is not None
    assert {file.name for file in (tmp_path / "here").iterdir()} >= {"model.onnx", "dense.onnx", "export.json"}
    assert (tmp_path / "here-search" / FILE).is_file()


def test_a_dense_model_without_ap_has_none_to_lose(tmp_path: Path) -> None:
    model, data, images, decoder = save_graded(tmp_path / "graded", named=False)
    job = OnnxJob(data=data, images=images, decoder=decoder, max_ap_drop=0.1)
    with pytest.raises(DataError, match=r"the dense model has no AP on these annotations \(0\.0\)"):
        export_onnx(model, job, target=FP32)
    assert not (model.parent / "graded-export").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_ap_drop": -0.01}, r"--max-ap-drop -1 is not in \[0, 100\]"),
        ({"max_ap_drop": 1.01}, r"--max-ap-drop 101 is not in \[0, 100\]"),
        ({"max_ap_drop": float("nan")}, r"--max-ap-drop nan is not in"),
        ({"data": None}, "--max-ap-drop needs annotations"),
        ({"structure": "2:4", "calibrate": Path()}, "--structure 2:4 has one share of zeros"),
        ({"structure": "in4"}, "--structure in4 is for --one-shot obs; give --calibrate DIR"),
        ({"max_ap_drop": None, "one_shot": "obs"}, "or --max-ap-drop POINTS"),
    ],
)
def test_bad_input_is_refused_before_work(
    graded: tuple[Path, OnnxJob], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        replace(graded[1], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("structure", "values"), [("single", "int8"), ("in4", "fp16"), ("2x4", "int8")])
def test_blocks_and_int8_are_searched_on_the_calibration_images(tmp_path: Path, structure: str, values: str) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    data, images = save_data(tmp_path / "data")
    model = save_tiny(tmp_path / "tiny.onnx")
    job = OnnxJob(
        data=data,
        images=images,
        decoder=save_decoder(tmp_path),
        calibrate=images,
        structure=structure,
        max_ap_drop=0.01,
    )
    made = export_onnx(model, job, target=Target.model_validate({"values": values, "profile": False}))
    assert made.search is not None
    # The boxes of this model are right whatever its weights; MOST would take the last block of some outputs.
    assert made.search.percent == (MOST if structure == "single" else MOST - 1)
    assert made.sparsity >= 0.9
    assert made.losses
    assert (made.int8_macs is not None) == (values == "int8")
    assert all((one.float_ap is not None) == (values == "int8") for one in made.search.tries)
