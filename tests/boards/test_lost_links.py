"""A link that is cut is opened again, and whatever ends the program here ends the one on the board."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lth_deploy import storage
from lth_deploy.boards import board as boards
from lth_deploy.boards.board import Board
from lth_deploy.boards.drivers import LocalDriver, SshDriver
from lth_deploy.boards.engines import Opened
from lth_deploy.boards.link import Link
from lth_deploy.errors import BoardError, LinkLostError
from tests.boards.conftest import Sample
from tests.boards.loopback import Loopback, children
from tests.waiting import has_ended, killed_at_the_end, wait_until

IMAGE = {"image": np.zeros((32, 32, 3), np.uint8)}


def test_work_goes_on_after_cuts(sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    with Board(SshDriver(ssh.host), str(tmp_path / "board")) as board:
        digest = storage.sha256(sample.model)
        board.set_up({digest: sample.model})
        opened = Opened(digest, True, 1)
        board.fill("s", IMAGE)
        first, _ = board.run(opened, "s")
        server = ssh.process
        assert server is not None
        # The sessions that copied files end a little later than their commands.
        wait_until(lambda: len(children(server.pid)) == 1, "the end of all sessions but one")
        assert ssh.cut() == 1
        second, _ = board.run(opened, "s")
        for name, value in first.items():
            np.testing.assert_array_equal(second[name], value)
        timer = threading.Timer(0.5, ssh.cut)
        timer.start()
        assert sum(board.block(opened, "s", 1, 2.0).samples_ms) > 500
        timer.join(300)
        assert board.conditions().seconds > 0


def test_a_board_that_stays_away_is_given_up(
    sample: Sample, ssh: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "RECONNECT_SECONDS", 2.0)
    with Board(SshDriver(ssh.host), str(tmp_path / "board")) as board:
        board.set_up({})
        assert board.conditions().seconds > 0
        assert ssh.process is not None
        serving = children(ssh.process.pid)
        ssh.stop()
        try:
            for process in serving:
                with suppress(ProcessLookupError):  # a session that copied files, and has ended
                    os.kill(process, signal.SIGKILL)
            with pytest.raises(LinkLostError, match="nothing listens there for ssh"):
                board.conditions()
        finally:
            ssh.start()


def test_a_consumer_that_is_killed_is_not_started_again(sample: Sample, tmp_path: Path) -> None:
    with Board(LocalDriver(), str(tmp_path / "board")) as board:
        board.set_up({})
        board.hello()
        assert board._link is not None
        os.kill(board._link._process.pid, signal.SIGKILL)
        with pytest.raises(BoardError, match="SIGKILL: it has too little memory, or someone ended it"):
            board.conditions()


def test_a_board_that_takes_nothing_is_one_error_and_leaves_no_process(tmp_path: Path) -> None:
    """It runs, but never reads: what is sent fills the pipe."""
    file = tmp_path / "child"
    link = Link(LocalDriver(), f"(sleep 600 & echo $! > {file}; wait)", [])
    child = int(wait_until(lambda: file.exists() and file.read_text().strip(), "the start of the board's command"))
    with pytest.raises(BoardError, match="local has not taken what was sent to it in time; it is too slow"):
        link.ask(["feed"], [memoryview(bytes(1 << 22))], seconds=0.2)
    link.close()
    wait_until(lambda: has_ended(child), "the end of what the command has started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_on_the_board(number: signal.Signals, sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lth_deploy", "benchmark", sample.model, "--data", sample.data]
    command += ["--images", sample.images, "--host", ssh.host, "--board-folder", tmp_path / "board", "--time", "600s"]
    benchmark = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL, start_new_session=True)
    with killed_at_the_end(benchmark) as process:
        # A consumer runs before the link stays open: while the host is looked at.
        server = ssh.process
        assert server is not None
        wait_until(lambda: _consumers(tmp_path) and children(server.pid), "the start of a consumer")
        os.kill(process.pid, number)
        assert process.wait(300) in (130, -signal.SIGKILL)
    wait_until(lambda: not _consumers(tmp_path), "the end of all consumers")
    wait_until(lambda: not children(server.pid), "the end of all sessions")


def _consumers(folder: Path) -> list[str]:
    """Running programs whose file is in the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/exe"):
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        found += [target] if target.startswith(str(folder)) else []
    return found
