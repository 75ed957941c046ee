"""Whatever a file contains, there is one error and no traceback: metadata, checkpoints, results, scores."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from safetensors.torch import save_file

from lth_deploy import storage
from lth_deploy.compiler.artifact.domain import METADATA_KEY
from lth_deploy.compiler.artifact.load import check_model, load_model
from lth_deploy.compiler.artifact.metadata import MAX_DEPTH, parse_metadata
from lth_deploy.config.recipe import load_recipe
from lth_deploy.errors import ArtifactError, DataError, LthError
from lth_deploy.mask import load_masks
from lth_deploy.run.directory import RunDirectory, Trial, read_metrics
from tests.cli.running import Cli
from tests.config.recipes import MINIMAL, write
from tests.hostile.make_corpus import valid, valid_region
from tests.tiny_artifact import save_data, save_decoder, tiny_model

torch = pytest.importorskip("torch")

NESTED = '{"preprocessing":{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}}"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(capsys, monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        '{"opset":' + "9" * 4301 + "}",
        '{"sparsity":' + "9" * 5000 + "}",
        '{"classes":[{"id":' + "9" * 4000 + ',"name":"a"}],"opset":' + "9" * 400 + "}",
        '{"sparsity":1e999}',
        '{"sparsity":NaN}',
        '{"preprocessing":' + '{"a":' * 50_000 + "0" + "}" * 50_000 + "}",
        "[" * 50_000 + "]" * 50_000,
        NESTED,
        '{"values":{"a":1}}',
        '{"predicted":{"w":[1,2,3]}}',
        "null",
        "3",
        "",
        "\0",
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_metadata_that_means_nothing(text: str) -> None:
    with pytest.raises(ArtifactError, match="metadata 'lth_deploy' is invalid"):
        parse_metadata({METADATA_KEY: text})


def test_metadata_as_deep_as_allowed() -> None:
    brackets = MAX_DEPTH - 3
    assert parse_metadata({METADATA_KEY: '{"preprocessing":{"a":' + "[" * brackets + "]" * brackets + "}}"})


@pytest.mark.parametrize(
    "error", [onnx.checker.ValidationError(""), RuntimeError("\n\n"), UnicodeDecodeError("utf-8", b"x", 0, 1, "no")]
)
def test_a_checker_that_says_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: object) -> None:
        raise error

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(ArtifactError, match=r"not a valid ONNX model: .{5}"):
        check_model(tiny_model())


@pytest.mark.parametrize(
    "source", [tiny_model(zeros=0.5), valid(0.85), valid_region()], ids=["tiny", "packed", "region"]
)
def test_damaged_bytes_of_a_model(source: ModelProto, tmp_path: Path) -> None:
    data, rng = source.SerializeToString(), np.random.default_rng(0)
    text = np.flatnonzero([32 <= byte < 127 for byte in data])
    for number in range(150):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.choice(text)) if number % 2 else int(rng.integers(len(data)))
            damaged[place] = int(rng.integers(256))
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        with contextlib.suppress(LthError):  # and nothing else
            load_model(tmp_path / "damaged.onnx")


def test_no_picture_is_written_of_scores_that_are_no_numbers(tmp_path: Path, cli: Cli) -> None:
    model = tiny_model()
    head = next(one for one in model.graph.initializer if one.name == "head.weight")
    head.CopyFrom(numpy_helper.from_array(np.full((32, 2), np.nan, np.float32), head.name))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    _, images = save_data(tmp_path, images=1)
    decoder = save_decoder(tmp_path)
    out = tmp_path / "out"
    outcome = cli("predict", tmp_path / "net.onnx", images / "1.png", "--out", out, "--decoder", decoder)
    assert outcome.code == 3
    assert "gives a score that is no number for" in outcome.err
    assert not list(out.glob("*.png"))
    assert not (out / "detections.json").exists()


def network() -> "torch.nn.Module":
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 1))


SOUND = {"step": 3, "scaler": {}, "seconds": 1.5}


@pytest.mark.parametrize(
    "state",
    [
        '{"step":1e999,"scaler":{}}',
        '{"step":' + "9" * 5000 + ',"scaler":{}}',
        '{"step":' + "9" * 4000 + ',"scaler":{}}',
        '{"step":-1,"scaler":{}}',
        '{"step":true,"scaler":{}}',
        '{"step":"3","scaler":{}}',
        '{"step":3,"scaler":{},"seconds":1e999}',
        '{"step":3,"scaler":{},"seconds":"long"}',
        '{"step":3,"scaler":7}',
        '{"step":3}',
        "[" * 50_000,
        "[3]",
        "null",
    ],
    ids=lambda text: text[:24],
)
def test_checkpoints_that_mean_nothing(state: str, tmp_path: Path) -> None:
    from lth_deploy.training.state import TrainingState

    path = tmp_path / "checkpoint.safetensors"
    save_file({"model/w": torch.zeros(2)}, path, metadata={"state": json.dumps(SOUND)})
    assert TrainingState.load(path).step == 3
    save_file({"model/w": torch.zeros(2)}, path, metadata={"state": state})
    with pytest.raises(DataError, match="is not a saved training state"):
        TrainingState.load(path)


def _rename(optimizer: dict[str, Any], old: str, new: str) -> None:
    optimizer[new] = optimizer.pop(old)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda o: _rename(o, "0.weight|step", "nothing|step"), "holds 'nothing.step', which is nothing"),
        (lambda o: _rename(o, "0.weight|step", "step"), "holds 'step', which is nothing"),
        (lambda o: _rename(o, "0.weight|step", "0.weight|momentum_buffer"), "momentum_buffer', which is nothing"),
        (lambda o: o.pop("1.bias|exp_avg"), "of '1.bias' lacks exp_avg"),
        (lambda o: o.__setitem__("0.bias|exp_avg", torch.zeros(5)), r"'0.bias.exp_avg' in the shape \[5\]"),
        (lambda o: o.__setitem__("0.bias|step", torch.zeros(4)), r"'0.bias.step' in the shape \[4\]"),
    ],
)
def test_optimizer_state_of_another_model(damage: Callable[[dict[str, Any]], object], words: str) -> None:
    from dataclasses import replace

    from lth_deploy.config.training_spec import OptimizerSpec
    from lth_deploy.training.optimizer import build_optimizer
    from lth_deploy.training.state import TrainingState

    model = network()
    optimizer = build_optimizer(model, OptimizerSpec(name="adamw"))
    model(torch.ones(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    state = TrainingState.capture(1, model, optimizer)
    other = network()
    state.restore(other, build_optimizer(other, OptimizerSpec(name="adamw")))
    damaged = dict(state.optimizer)
    damage(damaged)
    with pytest.raises(DataError, match=words):
        replace(state, optimizer=damaged).restore(other, build_optimizer(other, OptimizerSpec(name="adamw")))


def test_masks_that_mean_nothing(tmp_path: Path) -> None:
    for shapes in (
        '{"w":' + "9" * 5000 + "}",
        '{"w":[' + "9" * 4000 + "]}",
        '{"w":[1e999]}',
        '{"w":[1.5]}',
        "[" * 50_000,
        "3",
    ):
        save_file({"w": torch.zeros(1, dtype=torch.uint8)}, tmp_path / "mask", metadata={"shapes": shapes})
        with pytest.raises(DataError, match="is not a mask file"):
            load_masks(tmp_path / "mask")


def committed(folder: Path, result: Any) -> Trial:
    run = RunDirectory.create(folder / "run", load_recipe(write(folder, MINIMAL)))
    trial = run.trial("level_90")
    trial.path.mkdir(parents=True)
    for file in (trial.weights, trial.metrics):
        file.write_bytes(b"")
    storage.write_json(trial.result, result)
    run.commit([trial.weights, trial.metrics, trial.result])
    return trial


RESULT: dict[str, Any] = {
    "name": "level_90", "kind": "ticket", "sparsity": 0.9, "parent": "dense", "steps": [0, 3], "seconds": 1.0,
    "sparsity_prunable": 0.9, "zero_macs": 0.5, "positions": {"w": 100.0}, "val": {"bbox": {"AP": 0.5, "AP50": None}},
}  # fmt: skip


@pytest.mark.parametrize("odd", [7, "7", None, [], {}, [1, 2, 3], {"a": {"b": [1]}}, -1, 1e300, True, 10**30], ids=repr)
@pytest.mark.parametrize("key", [None, *RESULT])
def test_results_of_other_types_are_refused_or_taken(key: str | None, odd: Any, tmp_path: Path) -> None:
    trial = committed(tmp_path, odd if key is None else {**RESULT, key: odd})
    try:
        result = trial.read_result()
    except DataError:
        return
    # What is taken has the types of the real thing.
    value = getattr(result, str(key))
    if key == "positions":
        assert all(isinstance(count, float) for count in value.values())
    elif key == "val":
        assert value is None or all(isinstance(metrics, dict) for metrics in value.values())
    elif key in ("name", "kind", "parent"):
        assert isinstance(value, str) or (key == "parent" and value is None)
    else:
        assert value is None or isinstance(value, int | float)


@pytest.mark.parametrize("key", ["name", "kind", "steps", "positions"])
def test_what_a_result_lacks_is_named(key: str, tmp_path: Path) -> None:
    lacking = {name: value for name, value in RESULT.items() if name != key}
    with pytest.raises(DataError, match=f"result.json is no result of a trial: {key}: Field required; restore"):
        committed(tmp_path, lacking).read_result()


def test_a_result_is_written_as_it_was_read(tmp_path: Path) -> None:
    trial = committed(tmp_path, RESULT)
    before = trial.result.read_bytes()
    trial.commit(trial.read_result())
    assert trial.result.read_bytes() == before


@pytest.mark.parametrize("winner", [7, "level_90", [], {}, {"trial": 5}, {"trial": None}, {"trial": ["a"]}], ids=repr)
def test_a_summary_with_an_odd_winner(winner: Any, tmp_path: Path, cli: Cli) -> None:
    run = committed(tmp_path, RESULT).run
    storage.write_json(run.summary, {"schema": "lth-run/1", "winner": winner})
    run.commit([run.summary])
    for verb in ("export", "inspect", "report"):
        outcome = cli(verb, run.path, *(["--out", tmp_path / "page.html"] if verb == "report" else []))
        assert outcome.code == 3, verb
        assert "winner" in outcome.err
        assert "did not foresee" not in outcome.err


@pytest.mark.parametrize(
    "line",
    [
        *("[]", '{"step":"3"}', '{"step":1e999}', '{"step":' + "9" * 4400 + "}", "[" * 50_000),
        *('{"step":3,"loss":"1"}', '{"step":3,"loss":NaN}', '{"step":3,"losses":[1]}', '{"step":3,"losses":"x"}'),
        *('{"step":3,"losses":{"fit":"1"}}', '{"step":3,"losses":{"fit":[]}}', '{"step":3,"losses":{"fit":1e999}}'),
    ],
)
def test_metrics_that_mean_nothing(line: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match="line 1: no record of a step"):
        read_metrics(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        '{"schema":"lth-benchmark/1","rows":' + "9" * 5000 + "}",
        '{"schema":"lth-benchmark/1","rows":{"a":1}}',
        '{"schema":["lth-benchmark/1"]}',
        '{"schema":"lth-benchmark/1","rows":[{"name":"\\ud800","bytes":[1]}]}',
        '{"schema":"lth-run/1","trials":[{"name":1}]}',
        '{"schema":"lth-run/1","recipe":' + '{"a":' * 300 + "1" + "}" * 301,
        '{"schema":"lth-\\ud800"}',
        "[" * 50_000,
        "\ud800",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_reports_of_odd_files(text: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = cli("report", tmp_path / "results.json", "--out", tmp_path / "page.html")
    assert outcome.code == 3
    assert "did not foresee" not in outcome.err
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("\x1b[31mred"), "lth-deploy did not foresee this (KeyError"),
        (RecursionError("too deep"), "lth-deploy did not foresee this (RecursionError: too deep"),
        (MemoryError(), "the memory of this machine is not enough"),
        (DataError("a \ud800 b"), "error: a "),
    ],
    ids=["key", "recursion", "memory", "surrogate"],
)
def test_the_last_resort(error: Exception, words: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("lth_deploy.workflow.environment.check_environment", fail)
    outcome = cli("checks")
    assert outcome.code == 3
    assert words in outcome.err
    assert "\x1b" not in outcome.err
    assert len(outcome.err.splitlines()) == 1
