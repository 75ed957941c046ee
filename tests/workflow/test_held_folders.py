"""Verbs that write several files into one folder refuse it while another process holds it, and mix nothing."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.errors import StorageError
from lth_deploy.workflow.data import crop_objects, draw_shapes
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.predict import predict
from lth_deploy.workflow.verify.verify import verify
from tests.tiny_artifact import save_data, save_decoder, save_tiny
from tests.waiting import next_line
from tests.workflow.racing import tell

TURNS = 6


def _shapes(folder: Path, out: Path) -> None:
    draw_shapes(out, {"train": 1}, size=(32, 32))


def _crops(folder: Path, out: Path) -> None:
    crop_objects(*save_data(folder / "data", images=1), out)


def _predict(folder: Path, out: Path) -> None:
    _, images = save_data(folder / "data", images=1)
    predict(save_tiny(folder / "tiny.onnx"), [images / "1.png"], out, decoder=save_decoder(folder))


def _export(folder: Path, out: Path) -> None:
    export_onnx(save_tiny(folder / "tiny.onnx"), out=out)


@pytest.mark.parametrize("write", [_shapes, _crops, _predict, _export])
def test_a_folder_that_is_held_is_refused_and_untouched(write: Callable[[Path, Path], None], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with storage.locked(out), pytest.raises(StorageError, match="another process is working on"):
        write(tmp_path, out)
    assert [entry.name for entry in out.iterdir()] == [storage.LOCK]


RACER = """
    import sys
    from pathlib import Path
    from lth_deploy.errors import LthError
    from lth_deploy.workflow.export.folder import export_folder

    for line in sys.stdin:
        out, mine = line.split()
        try:
            with export_folder(Path(out)) as folder:
                print("won", flush=True)
                sys.stdin.readline()
                files = [folder.staged / name for name in ("dense.bin", "model.bin")]
                for file in files:
                    file.write_text(mine)
                folder.commit(files, {"who": mine})
                print("written", flush=True)
        except LthError as error:
            print(error.exit_code, flush=True)
"""


def test_of_two_exports_started_together_one_writes_all_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(RACER)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for turn in range(TURNS):
        out = tmp_path / str(turn % 2)  # new folders, then such that hold an export
        for number, racer in enumerate(racers):
            tell(racer, f"{out} {number}")
        lines = [next_line(racer) for racer in racers]
        assert sorted(lines) == ["6", "won"]
        winner = lines.index("won")
        tell(racers[winner], "")
        assert next_line(racers[winner]) == "written"
        verify(out)
        assert {(out / name).read_text() for name in ("dense.bin", "model.bin")} == {str(winner)}
    for racer in racers:
        racer.communicate(timeout=300)
