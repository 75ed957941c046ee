"""Fixtures for the tests of the report."""

from pathlib import Path

import pytest

from tests.reporting.report_samples import make_benchmark, make_run, write


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run with a benchmark beside it."""
    write(tmp_path / "run" / "summary.json", make_run())
    write(tmp_path / "run" / "benchmark.json", make_benchmark())
    return tmp_path / "run"
