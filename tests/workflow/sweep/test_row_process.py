"""The process of a row: what it has started ends with it, and no signal goes to a number that may be another's."""

import os
import signal
from pathlib import Path

import pytest

from lth_deploy.workflow.sweep import processes
from lth_deploy.workflow.sweep.processes import Process, Slot
from tests.waiting import has_ended, wait_until

STARTS = (
    "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); open(sys.argv[1], 'w').write(str(child.pid))"
)
"""Starts a program that goes on by itself, and says its number."""
STAYS = "; import time; time.sleep(600)"
LEAVES = "; print('error: it went wrong', file=sys.stderr); sys.exit(3)"


def row(folder: Path, then: str) -> tuple[Process, int]:
    """A process that has started another, and the number of that."""
    file = folder / "child"
    process = Process("row", Slot("cpu", "cpu", {}), [str(file)], STARTS + then)
    return process, int(wait_until(lambda: file.exists() and file.read_text(), "the start of the other"))


def test_what_a_row_has_started_ends_with_it(tmp_path: Path) -> None:
    process, child = row(tmp_path, LEAVES)
    ended = wait_until(process.ended, "the end of the row")
    assert (ended.code, ended.error) == (3, "it went wrong")
    wait_until(lambda: has_ended(child), "the end of what it had started")


@pytest.mark.parametrize("ask", [Process.interrupt, Process.save_and_end])
def test_a_row_that_is_asked_to_end_takes_along_what_it_has_started(
    ask: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 300.0)
    process, child = row(tmp_path, STAYS)
    ask(process)  # type: ignore[operator]
    assert process.stop().code in (-signal.SIGTERM, -signal.SIGUSR2)
    wait_until(lambda: has_ended(child), "the end of what it had started")


def test_a_row_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    process, child = row(tmp_path, STAYS)
    assert process.stop().code == -signal.SIGKILL
    wait_until(lambda: has_ended(child), "the end of what it had started")


def test_after_its_end_nothing_is_sent_to_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its end is noted, the system gives its number to no other process; from then on it may."""
    process, _ = row(tmp_path, LEAVES)
    wait_until(lambda: has_ended(process._process.pid), "the end of the row")
    assert process._process.returncode is None
    assert process.poll() == 3
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda number, _: sent.append(number))
    monkeypatch.setattr(os, "killpg", lambda number, _: sent.append(number))
    process.interrupt()
    process.save_and_end()
    assert process.stop().code == 3
    assert sent == []
