"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest

from lth_deploy.compiler.model.save import save_model
from tests.cli.running import Cli
from tests.compiler.onnx_models import detector


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> Cli:
    return Cli(capsys, monkeypatch)


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Any ONNX model; the noise that it is checked on is small."""
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 24)
    save_model(detector(0.0, opset=13, width=64), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"
