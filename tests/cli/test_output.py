"""What goes where: results to stdout, logs to stderr, and with --json nothing but JSON on stdout."""

import json
import logging
from pathlib import Path

import onnx
import pytest

import lth_deploy
from lth_deploy.commands.output import numbers_of, points, print_json, print_table, seconds_of
from lth_deploy.errors import UsageError
from tests.cli.running import Cli
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.workflow.export.graded_model import save_graded


def _evaluation(folder: Path) -> list[object]:
    annotations, images = save_data(folder)
    model = save_tiny(folder / "tiny.onnx")
    return ["evaluate", model, "--data", annotations, "--images", images, "--decoder", save_decoder(folder)]


def test_the_version_is_one_line_on_stdout(cli: Cli) -> None:
    outcome = cli("--version")
    assert (outcome.code, outcome.out) == (0, f"lth-deploy {lth_deploy.__version__}\n")


def test_tables_go_to_stdout_and_what_was_checked_to_stderr(cli: Cli, model_file: Path) -> None:
    outcome = cli("export", "--onnx", model_file, "--sparsity", 0.8)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["what", "file", "bytes", "x", "smaller", "AP"]
    assert "model.onnx" in outcome.out
    assert "parity on " in outcome.err
    assert "parity" not in outcome.out


def test_with_json_stdout_holds_nothing_else(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    made = cli("export", "--onnx", model_file, "--sparsity", 0.8, "--json")
    artifact = json.loads(made.out)["artifact"]
    assert "x smaller" in made.err
    seen = cli("inspect", artifact, "--json")
    assert json.loads(seen.out)
    assert "coding" in seen.err
    checked = cli("checks", "--json")
    assert json.loads(checked.out)["facts"]["python"]
    assert "found" in checked.err
    scored = cli(*_evaluation(tmp_path), "--json")
    assert set(json.loads(scored.out)["ap"]) == {"bbox"}
    assert "AP50" in scored.err


def test_without_json_tables_are_on_stdout(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (["inspect", model_file], "coding"),
        (["checks"], "found"),
        (_evaluation(tmp_path), "AP50"),
    ):
        outcome = cli(*arguments)
        assert outcome.code == 0, outcome.err
        assert words in outcome.out
        with pytest.raises(ValueError, match=r"Expecting|Extra"):
            json.loads(outcome.out)


def test_an_evaluation_has_vocs_figures_and_each_class_where_asked(cli: Cli, tmp_path: Path) -> None:
    command = _evaluation(tmp_path)
    plain, asked = cli(*command), cli(*command, "--by-class", "--json")
    assert plain.out.splitlines()[0].split()[-2:] == ["VOC07", "VOC10"]
    report = json.loads(asked.out)
    classes = report["voc_by_class"]
    assert all(name in asked.err and name not in plain.out for name in classes)
    for key in ("VOC07", "VOC10"):
        present = [one[key] for one in classes.values() if one["objects"]]
        assert report["ap"]["bbox"][key] == pytest.approx(sum(present) / len(present))


def test_a_benchmarks_json_goes_to_a_file_or_to_stdout(cli: Cli, tmp_path: Path) -> None:
    _, model, *rest = _evaluation(tmp_path)
    command = ["benchmark", model, *rest, "--engine", "onnxruntime", "--time", "0.01s", "--limit", 1]
    alone = cli(*command, "--json", "-")
    assert alone.code == 0, alone.err
    assert json.loads(alone.out)["schema"] == "lth-benchmark/1"
    filed = cli(*command, "--json", tmp_path / "results.json")
    assert filed.code == 0, filed.err
    assert json.loads((tmp_path / "results.json").read_text())["rows"]
    assert "p50" in filed.out
    assert "p50" in alone.err


def test_logs_go_to_stderr_as_loudly_as_asked(cli: Cli, model_file: Path) -> None:
    command = ["export", "--onnx", model_file, "--sparsity", 0.8, "--no-profile"]
    normal, quiet = cli(*command), cli("--quiet", *command)
    assert "weights are zero after pruning" in normal.err
    assert "weights are zero after pruning" not in quiet.err
    assert normal.out == quiet.out
    cli("--verbose", "checks")
    assert logging.getLogger("lth_deploy").level == logging.DEBUG


def test_what_an_engine_says_is_shown_where_asked(cli: Cli, model_file: Path) -> None:
    command = ["export", "--onnx", model_file]
    model = onnx.load(model_file)
    model.graph.node.append(onnx.helper.make_node("Mystery", ["f"], ["g2"], domain="nobody.knows"))
    model.opset_import.append(onnx.helper.make_opsetid("nobody.knows", 1))
    onnx.save(model, model_file)
    plain, verbose = cli(*command), cli("--verbose", *command)
    assert plain.code == verbose.code == 3
    (line,) = [line for line in plain.err.splitlines() if line.startswith("error: ")]
    assert line.endswith("'nobody.knows' (lth-deploy --verbose shows the engine's own message)")
    assert "ONNXRuntimeError" not in plain.err
    assert "\nthe engine's own message: [ONNXRuntimeError] : 1 : FAIL : " in verbose.err


def test_a_recipe_is_shown_as_written_and_resolved(cli: Cli) -> None:
    written, resolved = cli("recipe", "show", "quickstart"), cli("recipe", "show", "quickstart", "--resolved")
    assert written.out.startswith("# ")
    assert "nms_threshold" not in written.out
    assert "nms_threshold: 0.5" in resolved.out
    assert "${LTH_DATA}/bccd" in cli("recipe", "show", "bccd_retinanet_r18", "--resolved").out


def test_a_new_recipe_is_a_copy_that_overwrites_nothing(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mine.yaml"
    assert cli("recipe", "init", path, "--from", "bccd_retinanet_r18").code == 0
    assert path.read_text() == cli("recipe", "show", "bccd_retinanet_r18").out
    again = cli("recipe", "init", path)
    assert again.code == 2
    assert "exists; choose another file" in again.err


def test_shapes_are_drawn_where_asked_and_pass_the_check(cli: Cli, tmp_path: Path) -> None:
    sizes = ["--train", 2, "--val", 1, "--test", 1, "--width", 64, "--height", 48]
    outcome = cli("data", "shapes", tmp_path, *sizes)
    assert outcome.code == 0
    files = dict(line.split(": ") for line in outcome.out.splitlines())
    assert set(files) == {"train", "val", "test"}
    check = cli("data", "check", files["train"], tmp_path / "train")
    assert check.code == 0
    assert check.out.splitlines()[0].split() == ["what", "count"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("45s", 45.0), ("20m", 1200.0), ("1.5 h", 5400.0), ("2d", 172800.0), (None, None)],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 weeks", "1e3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no duration; write it like 45s, 20m or 2h"):
        seconds_of(text)


def test_lists_of_numbers() -> None:
    assert numbers_of("1,2", "--threads") == (1, 2)
    with pytest.raises(UsageError, match="--threads 1;2: write whole numbers separated by commas"):
        numbers_of("1;2", "--threads")


def test_ap_is_shown_times_100_and_a_missing_one_as_a_dash() -> None:
    assert points(0.5554) == "55.5"
    assert points(None) == "-"


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "AP"], [["a", "5.0"], ["longer", "55.5"]])
    assert capsys.readouterr().out == "name      AP\n------  ----\na        5.0\nlonger  55.5\n"
    print_table(["name"], [], to_stderr=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "name\n----\n"


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"ap": float("nan")})


def test_a_run_shows_what_was_asked_and_reached_by_part_and_says_what_is_next(cli: Cli, tmp_path: Path) -> None:
    parts = [
        {"name": "backbone", "paper": "Base", "weights": 800, "prunable": 700, "zeros": 560},
        {"name": "predictor", "paper": "Head", "weights": 100, "prunable": 0, "zeros": 0},
    ]
    shares = {"sparsity": 0.8, "sparsity_prunable": 0.8, "sparsity_all": 0.56, "zero_macs": 0.5}
    trial = {"name": "level_80", "kind": "ticket", **shares, "parts": parts}
    summary = {"schema": "lth-run/1", "parameters": {"total": 1000, "prunable": 700}, "trials": [trial]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    seen = cli("inspect", tmp_path, "--json")
    assert seen.code == 0, seen.err
    assert "level_80    80.00          80.00     56.00        50.00       70.00         0.00" in seen.err
    assert "backbone" in seen.err
    assert "Base      800     80.00            700" in seen.err
    assert "not exported yet: lth-deploy export" in seen.err
    run = json.loads(seen.out)["run"]
    assert run["parameters"] == {"total": 1000, "prunable": 700}
    assert run["trials"][0]["parts"] == parts


def test_an_int8_export_says_which_share_of_the_multiplications_is_int8(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    save_tiny(tmp_path / "tiny.onnx", zeros=0.8)
    data, images = save_data(tmp_path / "data")
    options = ["--values", "int8", "--calibrate", images, "--data", data, "--images", images]
    outcome = cli("export", "--onnx", tmp_path / "tiny.onnx", "--decoder", save_decoder(tmp_path), *options, "--json")
    assert "in int8: 100.0% of the multiplications by weights" in outcome.err
    assert json.loads(outcome.out)["int8_macs"] == 1.0
    floats = cli("export", "--onnx", tmp_path / "tiny.onnx", "--out", tmp_path / "floats", "--json")
    assert "in int8" not in floats.err
    assert json.loads(floats.out)["int8_macs"] is None


def test_a_search_for_the_share_of_zeros_shows_each_try_and_ends_with_a_table(cli: Cli, tmp_path: Path) -> None:
    model, data, images, decoder = save_graded(tmp_path / "graded")
    options = ["--data", data, "--images", images, "--decoder", decoder, "--max-ap-drop", 12, "--values", "fp32"]
    outcome = cli("export", "--onnx", model, *options)
    assert outcome.code == 0
    assert "try 1 of at most 7: 48 % zeros: AP 75.0, 25.0 lost: lost" in outcome.err
    assert "25 % zeros is the largest share that keeps AP within 12 points of 100.0: 90.0" in outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert ["asked", "%", "zeros", "%", "AP", "lost", "verdict"] in lines
    assert ["25", "20.0", "90.0", "10.0", "kept"] in lines
    assert ["26", "30.0", "85.0", "15.0", "lost"] in lines
    again = cli("export", "--onnx", model, *options, "--json")
    assert "shares were tried before" in again.err
    assert json.loads(again.out)["search"]["percent"] == 25
