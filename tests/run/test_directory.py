"""The run directory: one owner at a time, every byte accounted for, and no dead end after a kill."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe, load_recipe
from lth_deploy.errors import DataError, StorageError, UsageError
from lth_deploy.mask import save_masks
from lth_deploy.run.directory import RunDirectory, Trial, append_metrics, read_metrics, truncate_metrics, verify_summary
from lth_deploy.run.trial_result import TrialResult
from tests.config.recipes import MINIMAL, write
from tests.waiting import killed_at_the_end, next_line


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(write(tmp_path))


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", recipe)


def _result(name: str) -> TrialResult:
    return TrialResult(name=name, kind="ticket", steps=(0, 1), positions={}, val={"bbox": {"AP": 0.5}})


def _finish(run: RunDirectory, name: str) -> Trial:
    trial = run.trial(name)
    storage.write_bytes(trial.weights, b"weights")
    save_masks(trial.mask, {"layer": np.array([True, False])})
    append_metrics(trial.metrics, {"step": 1, "loss": 0.5})
    storage.write_bytes(trial.checkpoint, b"checkpoint")
    trial.commit(_result(name))
    return trial


def test_a_run_opens_with_the_recipe_that_it_was_made_with(run: RunDirectory, recipe: Recipe) -> None:
    opened = RunDirectory.open(run.path)
    assert opened.recipe() == recipe
    assert opened.manifest()["recipe_digest"] == recipe.digest()
    assert opened.manifest()["versions"]["python"]
    assert opened.finished_trials() == []


def test_a_trial_is_finished_once_its_result_is_committed(run: RunDirectory) -> None:
    trial = run.trial("level_80")
    storage.write_json(trial.result, {"name": "level_80"})
    assert not trial.finished, "a file that the manifest does not list never counts"
    with pytest.raises(DataError, match="not a committed file"):
        trial.read_result()
    _finish(run, "level_80")
    assert trial.finished
    assert trial.read_result() == _result("level_80")
    assert not trial.checkpoint.exists()
    for file in (trial.mask, trial.weights, trial.metrics):
        run.verify(file)


def test_finished_trials_come_in_the_order_in_which_they_ended(run: RunDirectory) -> None:
    for name in ("dense", "level_80", "level_27.5", "random_80"):
        _finish(run, name)
    names = [trial.name for trial in RunDirectory.open(run.path).finished_trials()]
    assert names == ["dense", "level_80", "level_27.5", "random_80"]


@pytest.mark.parametrize("file", ["mask", "weights", "metrics", "result"])
def test_a_changed_byte_is_found(run: RunDirectory, file: str) -> None:
    path: Path = getattr(_finish(run, "dense"), file)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="has changed since it was committed; restore it") as caught:
        run.verify(path)
    assert str(path) in str(caught.value)


def test_a_changed_summary_is_found_and_one_that_is_not_listed_is_left(run: RunDirectory) -> None:
    run.verify_summary()
    storage.write_json(run.summary, {"winner": None})
    verify_summary(run.summary)
    run.commit([run.summary])
    verify_summary(run.summary)
    storage.write_json(run.summary, {"winner": 1})
    with pytest.raises(DataError, match=r"summary\.json has changed since it was committed; restore it, or write"):
        verify_summary(run.summary)
    run.manifest_file.unlink()
    verify_summary(run.summary)


def test_a_copy_is_checked_against_what_was_committed(run: RunDirectory, tmp_path: Path) -> None:
    weights = _finish(run, "dense").weights
    (tmp_path / "copy").write_bytes(weights.read_bytes())
    run.verify(weights, copy=tmp_path / "copy")
    (tmp_path / "copy").write_bytes(b"else")
    with pytest.raises(DataError, match="has changed since it was committed"):
        run.verify(weights, copy=tmp_path / "copy")


def test_a_changed_recipe_and_a_missing_file_are_found(run: RunDirectory) -> None:
    trial = _finish(run, "dense")
    trial.weights.unlink()
    with pytest.raises(DataError, match="not a committed file"):
        run.verify(trial.weights)
    run.recipe_file.write_text(MINIMAL)
    with pytest.raises(DataError, match=r"recipe\.yaml has changed"):
        run.recipe()


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(UsageError, match=r"is not empty.*choose another --out"):
        RunDirectory.create(tmp_path / "photos", recipe)
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(DataError, match=r"is no run directory: it has no manifest\.json"):
        RunDirectory.open(tmp_path / "photos")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        RunDirectory.create(tmp_path / "photos" / "cat.jpg", recipe)


def test_a_run_that_was_killed_before_its_manifest_begins_again(run: RunDirectory, recipe: Recipe) -> None:
    run.manifest_file.unlink()
    (run.path / ".manifest.json.tmp-1").write_text("{")
    assert RunDirectory.create(run.path, recipe).recipe() == recipe
    run.manifest_file.unlink()
    other = recipe.model_copy(update={"name": "other"})
    with pytest.raises(UsageError, match="is not empty"):
        RunDirectory.create(run.path, other)


SOUND: dict[str, Any] = {"schema": "lth-manifest/1", "recipe_digest": "0", "versions": {}, "files": {}}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ([], "has the schema"),
        ({**SOUND, "schema": "lth-manifest/2"}, "has the schema 'lth-manifest/2', 'lth-manifest/1' is needed"),
        ({**SOUND, "files": []}, "is damaged"),
        ({**SOUND, "files": {"a": None}}, "is damaged"),
        ({**SOUND, "files": {"a": {"sha256": 5}}}, "is damaged"),
        ({**SOUND, "versions": None}, "is damaged"),
        ({**SOUND, "recipe_digest": None}, "is damaged"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(run: RunDirectory, manifest: object, words: str) -> None:
    run.manifest_file.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=words) as caught:
        RunDirectory.open(run.path)
    assert str(run.manifest_file) in str(caught.value)


@pytest.mark.parametrize("name", ["../../etc/result.json", "trials/../result.json", "trials/a/b/result.json"])
def test_a_manifest_leads_nowhere_outside_the_run(run: RunDirectory, name: str) -> None:
    run.manifest_file.write_text(json.dumps({**SOUND, "files": {name: {"sha256": "0"}}}))
    assert RunDirectory.open(run.path).finished_trials() == []


HOLDER = """
    import sys, time
    from pathlib import Path
    from lth_deploy.run.directory import RunDirectory

    with RunDirectory(Path(sys.argv[1])).locked():
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_one_ends_however_it_ends(run: RunDirectory) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(run.path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with killed_at_the_end(process) as holder:
        assert next_line(holder) == "held"
        with pytest.raises(StorageError, match=r"another process is working on .*/run; wait for it"), run.locked():
            pytest.fail("two processes hold the same run")
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=300)
        with run.locked():
            pass


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot lock"), RunDirectory(tmp_path / "file").locked():
        pytest.fail("a file was locked as a run")


def test_a_torn_line_of_metrics_is_cut_off_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "trial" / "metrics.jsonl"
    assert read_metrics(path) == []
    for step in (1, 2, 3):
        append_metrics(path, {"step": step, "loss": 1.0 / step})
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    append_metrics(path, {"step": 3, "loss": 1.0 / 3})
    assert path.read_bytes() == whole
    path.write_bytes(b'{"step')
    assert read_metrics(path) == []
    append_metrics(path, {"step": 1, "loss": 1.0})
    assert read_metrics(path) == [{"step": 1, "loss": 1.0}]


def test_steps_that_will_be_trained_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 7):
        append_metrics(path, {"step": step, "loss": 0.1})
    truncate_metrics(path, before_step=4)
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 3]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"loss": 1}', b'{"step": "x"}', b""])
def test_a_damaged_line_of_metrics_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2: no record of a step"):
        read_metrics(path)


def test_a_run_may_be_moved(run: RunDirectory, tmp_path: Path) -> None:
    _finish(run, "dense")
    shutil.move(run.path, tmp_path / "elsewhere")
    moved = RunDirectory.open(tmp_path / "elsewhere")
    assert moved.trial("dense").read_result().val == {"bbox": {"AP": 0.5}}
