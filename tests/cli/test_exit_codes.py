"""Exit codes as documented: 0 ok, 2 usage or recipe, 3 data, 4 parity, 5 a gate, 6 disk, 7 a board, 130 interrupted."""

import signal
import subprocess
from pathlib import Path

import pytest
from onnx import numpy_helper

from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.config.target import Target
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.export import tune_regions
from tests.cli.running import PROGRAM, Cli
from tests.config.recipes import MINIMAL, write
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.waiting import killed_at_the_end, wait_until


def test_0_when_all_is_well(cli: Cli) -> None:
    outcome = cli("recipe", "list")
    assert outcome.code == 0
    assert outcome.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["inspect"], "Missing argument"),
        (["inspect", "x.onnx", "--jsn"], "No such option: --jsn"),
        (["export"], "give a run directory, --onnx FILE or --detectron2 CONFIG WEIGHTS, one of them"),
        (["export", "run", "--onnx", "x.onnx"], "one of them"),
        (
            ["export", "run", "--sparsity", "0.8"],
            "--sparsity, --one-shot, --structure, --images, --data, --decoder, --max-ap-drop, "
            "--keep-inputs and --shape",
        ),
        (
            ["export", "--onnx", "x.onnx", "--values", "fp8"],
            "--values=fp8: values: Input should be 'fp32', 'fp16', 'bf16' or 'int8'",
        ),
        (["export", "--onnx", "x.onnx", "--target", "ort"], "no target is called 'ort'"),
        (["find-ticket", "quickstrt"], "did you mean 'quickstart'?"),
        (["find-ticket", "quickstart", "--set", "training.stepz=3"], "did you mean 'steps'?"),
        (["find-ticket", "quickstart", "--max-time", "soon"], "'soon' is no duration; write it like 45s, 20m or 2h"),
        (["find-ticket", "quickstart", "--device", "gpu"], "unknown --device 'gpu'; choose auto, cpu or cuda"),
        (["recipe", "show", "missing.yaml"], "no recipe file missing.yaml"),
        (["data", "shapes", "out", "--train", "0"], "--train"),
    ],
)
def test_2_when_the_command_cannot_work(
    cli: Cli, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert words in " ".join(outcome.err.replace("│", " ").split())
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == [], "refused before anything is written"


def test_2_when_the_recipe_is_wrong(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL.replace("min_size", "min_sise"))
    outcome = cli("find-ticket", path, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert f"error: {path}, line 5: detector.min_sise: unknown key; did you mean 'min_size'?" in outcome.err
    assert not (tmp_path / "run").exists()


def test_3_when_a_file_is_damaged_or_missing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    for path in (tmp_path / "broken.onnx", tmp_path / "missing.onnx"):
        outcome = cli("inspect", path)
        assert outcome.code == 3
        assert str(path) in outcome.err
    outcome = cli("export", tmp_path)
    assert outcome.code == 3
    assert "is no run directory: it has no manifest.json" in outcome.err


def test_3_when_data_are_faulty(cli: Cli, tmp_path: Path) -> None:
    annotations, images = save_data(tmp_path)
    assert cli("data", "check", annotations, images).code == 0
    (images / "2.png").unlink()
    outcome = cli("data", "check", annotations, images)
    assert outcome.code == 3
    assert "2.png" in outcome.out
    assert "repair them before training" in outcome.err


def test_4_when_the_file_computes_something_else(cli: Cli, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tune_regions.emitter

    def faulty(model: NormalizedModel, target: Target) -> object:
        def emitted(facts: Facts) -> object:
            file, layers = sound(model, target)(facts)
            tensor = next(tensor for tensor in file.graph.initializer if tensor.name.endswith("bias"))
            values = numpy_helper.to_array(tensor).copy()
            values[:2] = values[1::-1]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return file, layers

        return emitted

    monkeypatch.setattr(tune_regions, "emitter", faulty)
    out = model_file.parent / "out"
    outcome = cli("export", "--onnx", model_file, "--out", out)
    assert outcome.code == 4
    assert "does not compute what its weights say" in outcome.err
    assert not out.exists()


def test_5_when_more_ap_is_lost_than_allowed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aps = iter([0.5, 0.4])
    monkeypatch.setattr(
        "lth_deploy.workflow.export.onnx_accuracy.ApOf.__call__", lambda *_: Scores({"bbox": {"AP": next(aps)}})
    )
    annotations, images = save_data(tmp_path)
    arguments = ["--data", annotations, "--images", images, "--decoder", save_decoder(tmp_path)]
    model = save_tiny(tmp_path / "net.onnx")
    bound = ["--sparsity", 0.3, "--max-ap-drop", 5]
    outcome = cli("export", "--onnx", model, *arguments, *bound, "--out", tmp_path / "out")
    assert outcome.code == 5
    assert "AP fell from 50.0 to 40.0, by more than the allowed 5.0 points" in outcome.err
    assert not (tmp_path / "out").exists()


def test_5_when_no_share_of_zeros_keeps_the_ap(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aps = iter([0.5, *[0.4] * 9])
    monkeypatch.setattr(
        "lth_deploy.workflow.export.onnx_accuracy.ApOf.__call__", lambda *_: Scores({"bbox": {"AP": next(aps)}})
    )
    annotations, images = save_data(tmp_path)
    arguments = ["--data", annotations, "--images", images, "--decoder", save_decoder(tmp_path)]
    model = save_tiny(tmp_path / "net.onnx")
    outcome = cli("export", "--onnx", model, *arguments, "--max-ap-drop", 5, "--out", tmp_path / "out")
    assert outcome.code == 5
    assert "no share of zeros keeps the AP: 1 % zeros has 40.0 of the dense model's 50.0" in outcome.err
    assert not (tmp_path / "out").exists()


def test_6_when_the_disk_refuses(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    outcome = cli("recipe", "init", tmp_path / "taken" / "recipe.yaml")
    assert outcome.code == 6
    assert f"cannot write {tmp_path / 'taken' / 'recipe.yaml'}" in outcome.err
    outcome = cli("data", "shapes", tmp_path / "taken", "--train", 1)
    assert outcome.code == 6
    assert "taken" in outcome.err


def test_6_when_the_system_refuses_what_no_verb_foresaw(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr("lth_deploy.workflow.environment.check_environment", refuse)
    outcome = cli("checks")
    assert outcome.code == 6
    assert outcome.err.startswith("error: the system refused: [Errno 13] Permission denied: '/somewhere'; check")


def test_130_when_interrupted(tmp_path: Path) -> None:
    command = [*PROGRAM, "data", "shapes", str(tmp_path / "shapes"), "--train", "100000"]
    drawing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with killed_at_the_end(drawing) as process:
        wait_until(lambda: list(tmp_path.glob("shapes/train/*")), "the first image")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted; a search goes on with --resume"


def test_an_error_of_a_process_of_its_own_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.run(
        [*PROGRAM, "inspect", str(tmp_path / "missing.onnx")], capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 3
    assert process.stdout == ""
    assert process.stderr.startswith("error: ")
    assert len(process.stderr.splitlines()) == 1
