"""A training that is asked to end writes a checkpoint first."""

import subprocess
import sys
import time

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.training.hooks import SaveCheckpoint, StopAtDeadline, StopRequested, is_over


def test_the_signal_counts_as_a_deadline_that_has_passed() -> None:
    program = (
        "import os, signal\n"
        "from lth_deploy.training.stop_request import accept_stop_requests, stop_is_requested\n"
        "accept_stop_requests()\n"
        "assert not stop_is_requested()\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        "assert stop_is_requested()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=300).returncode == 0


def test_a_request_ends_a_training_behind_its_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    checkpoint = object.__new__(SaveCheckpoint)
    monkeypatch.setattr(SaveCheckpoint, "save", lambda self, step: saved.append(step))
    hook = StopAtDeadline(None, checkpoint)
    hook.after_step(6, {})
    assert not saved
    monkeypatch.setattr("lth_deploy.training.hooks.stop_is_requested", lambda: True)
    with pytest.raises(StopRequested):
        hook.after_step(7, {})
    assert saved == [8]


def test_deadlines() -> None:
    now = time.monotonic()
    assert (is_over(None), is_over(now - 1), is_over(now + 60)) == (False, True, False)
