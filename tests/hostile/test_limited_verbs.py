"""Models that behave at first and then hang, or take all memory, end a command with one error, and leave nothing."""

import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import ModelProto
from PIL import Image

from lth_deploy.workflow.limits import settings
from tests.cli.running import PROGRAM, Cli
from tests.hostile.trapped_models import endless, enormous
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.waiting import has_ended, killed_at_the_end, wait_until


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    (tmp_path / "temporaries").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporaries"))
    monkeypatch.setenv(settings.SECONDS, "2")
    monkeypatch.setenv(settings.MEMORY, "2")
    return Cli(capsys, monkeypatch)


EVALUATE = "evaluate FILE --data DATA --images IMAGES --decoder DECODER"
PREDICT = "predict FILE 1.png 4.png --out OUT --decoder DECODER"
BENCHMARK = "benchmark FILE --data DATA --images IMAGES --decoder DECODER --time 1s"
GATE = "export --onnx FILE --images IMAGES --decoder DECODER --out OUT"
CALIBRATION = "export --onnx FILE --values int8 --calibrate IMAGES --decoder DECODER --out OUT"
PRUNING = "export --onnx FILE --sparsity 0.5 --calibrate IMAGES --decoder DECODER --out OUT"


@pytest.mark.parametrize(
    ("command", "trap"),
    [
        (EVALUATE, endless),
        (CALIBRATION, endless),
        *((command, enormous) for command in (EVALUATE, PREDICT, BENCHMARK, GATE, CALIBRATION, PRUNING)),
    ],
)
def test_a_model_that_springs_a_trap_on_the_last_image(
    command: str, trap: Callable[[], ModelProto], cli: Cli, tmp_path: Path
) -> None:
    data, images = save_data(tmp_path)
    bright = images / "4.png"
    Image.new("RGB", Image.open(bright).size, (255, 255, 255)).save(bright)
    onnx.save(trap(), tmp_path / "net.onnx")
    words = {"FILE": tmp_path / "net.onnx", "DATA": data, "IMAGES": images, "OUT": tmp_path / "out"}
    words |= {"DECODER": save_decoder(tmp_path), "1.png": images / "1.png", "4.png": bright}
    result = cli(*(words.get(word, word) for word in command.split()))
    assert result.code == 3, result.err
    expected = "one run of the model took longer than 2 s" if trap is endless else "more than 2.0 GiB of memory"
    assert expected in result.err
    assert result.err.count("error: ") == 1
    # What predict drew before stays, as it does where an image is damaged.
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == (["1.png"] if command == PREDICT else [])
    assert not list((tmp_path / "temporaries").iterdir())


def test_predict_leaves_no_folder_after_a_refusal(cli: Cli, tmp_path: Path) -> None:
    _, images = save_data(tmp_path, images=1)
    model = save_tiny(tmp_path / "net.onnx")
    misfit = cli("predict", model, images / "1.png", "--out", tmp_path / "out", "--decoder", "yolox")
    assert misfit.code == 2
    assert cli("predict", tmp_path / "none.onnx", images / "1.png", "--out", tmp_path / "out").code == 3
    decoder = ("--decoder", save_decoder(tmp_path))
    assert cli("predict", model, tmp_path / "none.png", "--out", tmp_path / "out", *decoder).code == 3
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert cli("predict", model, tmp_path / "none.png", "--out", tmp_path / "out", *decoder).code == 3
    assert not list((tmp_path / "out").iterdir())


DECODER = """
from pathlib import Path
from lth_deploy.decoders.lth import LthDecoder

class Marking(LthDecoder):
    def prepare(self, image):
        Path("begun").touch()
        return super().prepare(image)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_export_ends_its_child(how: signal.Signals, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), (255, 255, 255)).save(images / "1.png")
    onnx.save(endless(), tmp_path / "net.onnx")
    (tmp_path / "marking.py").write_text(DECODER)
    arguments = ["export", "--onnx", "net.onnx", "--images", "images", "--decoder", "marking.py:Marking"]
    export = subprocess.Popen([*PROGRAM, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with killed_at_the_end(export) as running:
        wait_until((tmp_path / "begun").exists, "the first image")
        (child,) = (one.pid for one in psutil.Process(running.pid).children())
        running.send_signal(how)
        _, said = running.communicate(timeout=300)
    wait_until(lambda: has_ended(child), "the end of the child")
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert said.splitlines()[-1].startswith("interrupted")
        assert not (tmp_path / "net-export").exists()
