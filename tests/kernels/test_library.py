"""Finding the library, and sessions with and without it."""

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

import lth_deploy
from lth_deploy.cli import app
from lth_deploy.errors import ArtifactError, MissingLibraryError
from lth_deploy.kernels import library
from lth_deploy.kernels.program.text import parse
from lth_deploy.runtimes import RUNTIMES
from tests.kernels.region_models import model_of

RELU = "lth_region 1\ninputs 1\nt0 = load 0 channels=1\nt1 = act t0 act=relu\noutput t1\n"


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """A file that only the library can run: its operator has no body."""
    file = tmp_path / "region.onnx"
    file.write_bytes(model_of(parse(RELU), []))
    return file


def test_the_library_is_a_file_and_the_command_prints_it() -> None:
    path = lth_deploy.ops_library()
    assert path.is_file()
    assert path.is_absolute()
    assert CliRunner().invoke(app, ["ops-library"]).stdout == f"{path}\n"


def test_the_environment_may_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "mine.so"
    other.touch()
    monkeypatch.setenv("LTH_OPS_LIBRARY", str(other))
    assert lth_deploy.ops_library() == other
    other.unlink()
    with pytest.raises(MissingLibraryError, match=r"mine\.so, which is no file"):
        lth_deploy.ops_library()


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LTH_OPS_LIBRARY", raising=False)
    monkeypatch.setattr(library, "NAME", "liblth_ops_of_nowhere.so")


@pytest.mark.usefixtures("not_built")
def test_an_installation_without_it_says_what_to_do(region: Path) -> None:
    with pytest.raises(MissingLibraryError, match=r"no C\+\+ compiler was found.*pip install"):
        lth_deploy.ops_library()
    with pytest.raises(MissingLibraryError, match="pip install"):
        RUNTIMES.get("lth_deploy").load(region)


def test_a_session_runs_regions(region: Path) -> None:
    session = lth_deploy.session(region, threads=1)
    assert isinstance(session, onnxruntime.InferenceSession)
    picture = np.array([-1, 2], np.float32).reshape(1, 1, 1, 2)
    assert session.run(None, {"x0": picture})[0].tolist() == [[[[0, 2]]]]
    assert RUNTIMES.get("lth_deploy").load(region, threads=1).run({"x0": picture})["y0"].tolist() == [[[[0, 2]]]]


def test_without_the_library_it_is_stock_onnx_runtime(region: Path) -> None:
    for refused in (
        lambda: lth_deploy.session(region, library=False),
        lambda: RUNTIMES.get("onnxruntime").load(region),
    ):
        with pytest.raises(ArtifactError, match="Region0"):
            refused()


@pytest.mark.usefixtures("not_built")
def test_a_session_falls_back_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("lth_deploy"), "propagate", True)
    with pytest.raises(ArtifactError, match="no such model file"), caplog.at_level(logging.WARNING, "lth_deploy"):
        lth_deploy.session(tmp_path / "none.onnx")
    assert "running in stock ONNX Runtime: the kernel library" in caplog.text
