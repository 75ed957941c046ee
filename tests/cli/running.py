"""Running the command line as a user does: through its entry point, with its exit code and both streams."""

import signal
import sys
from dataclasses import dataclass

import pytest

from lth_deploy.cli import main
from lth_deploy.processes import SAFE_PATH

PROGRAM = [sys.executable, "-c", "from lth_deploy.cli import main; main()"]
"""The entry point in a process of its own, with the interpreter that runs the tests."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Cli:
    """The entry point inside this process, so that tests may plant faults."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object) -> Outcome:
        self._monkeypatch.setattr(sys, "argv", ["lth-deploy", *map(str, arguments)])
        # The entry point changes both for good, which the other tests of this process must not see.
        self._monkeypatch.setenv(SAFE_PATH, "1")
        self._monkeypatch.setattr(signal, "signal", lambda *_: None)
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(int(end.value.code or 0), captured.out, captured.err)
