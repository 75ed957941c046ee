"""Progress: bars on a terminal, log lines elsewhere, nothing on stdout, and children that report to their parent."""

import contextlib
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lth_deploy import progress
from lth_deploy.progress import Bars, Lines, Receiver, Sent, Task, show
from tests.waiting import killed_after

WORK = """
import logging, sys, time
from lth_deploy import progress
progress.BAR_AFTER_SECONDS = 0.05
progress.show(progress.Bars())
logging.getLogger("lth_deploy").addHandler(progress.TerminalHandler())
logging.getLogger("lth_deploy").setLevel(logging.INFO)
progress.LINE_SECONDS = 0.0
with progress.progress("outer \\x1b[31m", total=2) as outer:
    with progress.progress("inner", total=3) as inner:
        for _ in range(3):
            time.sleep(0.12)
            inner(detail="loss 0.25")
        sys.stdin.readline()  # until it was drawn
    logging.getLogger("lth_deploy").info("a line of the log")
    outer(2)
print("result")
"""


@pytest.fixture(autouse=True)
def usual_display() -> Iterator[None]:
    yield
    show(Lines())


def test_short_work_logs_nothing_and_long_work_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with caplog.at_level(logging.INFO, logger="lth_deploy"):
        with progress.progress("short", total=3) as step:
            step(3)
        with progress.progress("training", total=100, done=10) as step:
            for _ in range(30):
                now += 1.0
                step(detail="loss 0.500")
    assert caplog.messages == [
        "training: 20 of 100, loss 0.500, 1.00 s each, 1 min 20 s left",
        "training: 30 of 100, loss 0.500, 1.00 s each, 1 min 10 s left",
        "training: 40 of 100, loss 0.500, 1.00 s each, 1 min 00 s left",
        "training: ended in 30 s",
    ]
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_nested_bars_and_no_lines_of_progress() -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=child,
        env=environment,
        text=True,
    )
    os.close(child)
    assert process.stdin is not None
    drawn, answered = b"", False
    with killed_after(process):
        try:
            while part := os.read(parent, 1 << 16):
                drawn += part
                if b"loss 0.25" in drawn and not answered:
                    answered = bool(process.stdin.write("\n"))
                    process.stdin.flush()
        except OSError:  # the terminal's other end is closed
            pass
    assert process.communicate(timeout=300)[0] == "result\n"
    assert process.returncode == 0
    text = drawn.decode()
    assert "outer ?[31m" in text
    assert "inner" in text
    assert re.search("[0-3]/3", text)
    assert "loss 0.25" in text
    assert "a line of the log\r\n" in text
    assert "s each" not in text


def test_a_child_reports_and_its_parent_shows_it() -> None:
    sent: list[dict[str, Any]] = []
    show(Sent(sent.append))
    with progress.progress("outer"), progress.progress("rows", total=5, done=1) as step:
        step(4)
    shown: list[tuple[str, Task]] = []

    class Kept:
        def begin(self, task: Task) -> None:
            shown.append(("begin", task))

        def update(self, task: Task) -> None:
            pass

        def end(self, task: Task) -> None:
            shown.append(("end", task))

    show(Kept())
    receiver = Receiver()
    for state in json.loads(json.dumps(sent)):
        receiver.receive(state)
    assert [(what, task.title) for what, task in shown] == [
        ("begin", "outer"),
        ("begin", "rows"),
        ("end", "rows"),
        ("end", "outer"),
    ]
    rows = shown[1][1]
    assert (rows.total, rows.first, rows.done) == (5, 1, 5)
    receiver.receive({"key": 9, "title": "open", "total": None, "done": 0, "detail": "", "ended": False})
    receiver.close()
    assert [what for what, _ in shown].count("end") == 3


def test_an_error_ends_the_task() -> None:
    bars = Bars()
    show(bars)
    with contextlib.suppress(ValueError), progress.progress("work", total=2) as step:
        step()
        raise ValueError
    assert bars._progress is None
