"""`sweep status`: states, progress and errors from the files of a sweep."""

import os
import socket
import time
from pathlib import Path

import pytest

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.pruning.search.plan import plan_trials
from lth_deploy.workflow.sweep.starts import forget_start, note_start, start_file
from lth_deploy.workflow.sweep.status import sweep_status
from tests.cli.running import Cli
from tests.waiting import SECONDS
from tests.workflow.sweep.begun_sweep import begun


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(capsys, monkeypatch)


def test_a_running_row_shows_its_trial_step_and_last_sign(tmp_path: Path) -> None:
    run = begun(tmp_path)
    plans = plan_trials(run.recipe())
    for file in run.path.rglob("*"):
        os.utime(file, (time.time() - 100, time.time() - 100))
    first, second, third = sweep_status(tmp_path).rows
    assert (first.done, first.planned, first.trial) == (1, len(plans), plans[1].name)
    assert (first.step, first.steps, first.loss) == (40, 60, 0.75)
    assert first.age is not None
    assert 100 <= first.age < 100 + SECONDS
    assert (first.device, first.host) == ("cuda:0", socket.gethostname())
    assert (second.state, second.error, second.planned) == ("failed", "out of memory", 0)
    assert third.state == "waiting"
    assert sweep_status(tmp_path).counts == {"running": 1, "failed": 1, "waiting": 1}
    assert not (tmp_path / storage.LOCK).exists()


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_row_that_was_handed_out_is_queued_until_it_begins(state: str, tmp_path: Path) -> None:
    """The record is as old as the last row that began or ended; the start file is of now."""
    begun(tmp_path, state)
    file = start_file(tmp_path, "a")
    forget_start(file)
    first = sweep_status(tmp_path).rows[0]
    assert (first.state, first.host, first.done, first.trial, first.step) == ("queued", None, 1, None, None)
    note_start(file)
    first = sweep_status(tmp_path).rows[0]
    assert (first.state, first.host, first.step) == ("running", socket.gethostname(), 40)
    Path(file).write_text("{")
    first = sweep_status(tmp_path).rows[0]
    assert (first.state, first.host) == ("running", "")


def test_what_does_not_run_has_no_step(tmp_path: Path) -> None:
    begun(tmp_path, "unfinished")
    first = sweep_status(tmp_path).rows[0]
    assert (first.state, first.host) == ("unfinished", None)
    assert (first.done, first.trial, first.step) == (1, None, None)


def test_the_command_prints_rows_and_errors_and_watches_to_the_end(cli: Cli, tmp_path: Path) -> None:
    begun(tmp_path)
    outcome = cli("sweep", "status", tmp_path)
    assert outcome.code == 0
    assert "40 of 60" in outcome.out
    assert "mine: 1 running, 1 failed, 1 waiting" in outcome.out
    assert "b: out of memory" in outcome.out
    storage.write_json(tmp_path / "sweep.json", {"schema": "lth-sweep/1", "name": "mine", "finished": True, "rows": []})
    assert cli("sweep", "status", tmp_path, "--watch", "--json").code == 0
    assert cli("sweep", "status").code == 2
    assert cli("sweep", "mine.yaml", tmp_path).code == 2


def test_a_folder_without_a_sweep_and_a_run_outside_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no sweep: it has no sweep\.json"):
        sweep_status(tmp_path)
    begun(tmp_path / "other")
    row = {"id": "a", "run": "../other/runs/a", "state": "running"}
    (tmp_path / "mine").mkdir()
    storage.write_json(tmp_path / "mine" / "sweep.json", {"schema": "lth-sweep/1", "rows": [row]})
    assert sweep_status(tmp_path / "mine").rows[0].planned == 0
