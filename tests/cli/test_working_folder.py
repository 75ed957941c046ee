"""Verbs that start processes run no code of the folder that they are started in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lth_deploy.processes import SAFE_PATH
from lth_deploy.workflow.sweep.processes import Process, Slot
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.waiting import killed_at_the_end, wait_until

PROGRAM = [sys.executable, "-P", "-c", "from lth_deploy.cli import main; main()"]
"""As the installed program runs: its own folder is on the path, the working folder is not."""

MODULES = ("json", "numpy", "onnxruntime", "onnx", "rich", "pathlib", "sitecustomize", "usercustomize", "torch")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; its modules leave a mark beside it when they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in MODULES:
        mark = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')"
        (folder / f"{name}.py").write_text(f"{mark}\nraise SystemExit(9)\n")
    (folder / "matplotlibrc").write_text("text.usetex: True\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv(SAFE_PATH, raising=False)
    return tmp_path / "ran"


def _benchmark(folder: Path) -> list[str]:
    artifact, decoder = save_tiny(folder / "model.onnx", zeros=0.5), save_decoder(folder)
    data, images = save_data(folder / "data")
    options = ["--data", data, "--images", images, "--engine", "onnxruntime", "--decoder", decoder]
    return [str(word) for word in (*PROGRAM, "benchmark", artifact, *options)]


def test_a_benchmark_runs_nothing_of_it(hostile: Path, tmp_path: Path) -> None:
    command = [*_benchmark(tmp_path), "--time", "0.05s", "--limit", "1", "--json", str(tmp_path / "b.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not hostile.exists(), hostile.read_text()
    shown = [*PROGRAM, "report", str(tmp_path / "b.json"), "--out", str(tmp_path / "b.html")]
    done = subprocess.run(shown, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not hostile.exists(), hostile.read_text()


def test_the_process_of_a_row_runs_nothing_of_it(hostile: Path) -> None:
    process = Process("row", Slot("cpu", "cpu", {}), ["recipe", "list"])
    try:
        wait_until(lambda: process.poll() is not None, "the end of the process")
    finally:
        process.interrupt()
    code = process.poll()
    assert code == 0, process.error(code or 0)
    assert not hostile.exists(), hostile.read_text()


def test_a_request_to_end_deletes_temporary_files(tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    command, environment = [*_benchmark(tmp_path), "--time", "300s"], {**os.environ, "TMPDIR": str(scratch)}
    benchmark = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    with killed_at_the_end(benchmark) as process:
        wait_until(lambda: any(scratch.iterdir()), "the first temporary folder")
        process.terminate()
        words = process.communicate(timeout=300)[1]
        assert process.returncode == 130, words
    assert not any(scratch.iterdir())
