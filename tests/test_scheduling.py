"""A run of all tests ends, and counts every test, also when one of them ends its worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import SECONDS

pytest.importorskip("xdist", reason="pytest-xdist comes with the extra 'dev'")

CONFTEST = """
from tests.scheduling import UntilThereIsWork

def pytest_xdist_make_scheduler(config, log):
    return UntilThereIsWork(config, log)
"""
PASSING = "def test_one(): pass\ndef test_two(): pass\n"
ENDING = """
import os
from pathlib import Path

def test_before(): pass

def test_that_ends_its_worker_once(tmp_path):
    mark = Path(__file__).with_name("mark")
    if not mark.exists():
        mark.touch()
        os._exit(1)
"""


@pytest.mark.parametrize("place", [3, 5])
def test_a_run_ends_after_a_worker_was_killed(tmp_path: Path, place: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for number in range(6):
        (tmp_path / f"test_{number}.py").write_text(ENDING if number == place else PASSING)
    options = ["-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 12 passed" in run.stdout
