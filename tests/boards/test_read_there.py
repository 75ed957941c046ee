"""`benchmark --host ... --read-images board`: the AP of images that were read here, and each file copied once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lth_deploy import storage
from lth_deploy.boards.board import Board
from lth_deploy.boards.drivers import SshDriver
from lth_deploy.boards.engines import Opened
from lth_deploy.boards.image_files import ImageFile
from lth_deploy.cli import app
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.records import ImageRecord
from lth_deploy.decoders.lth import LthDecoder
from lth_deploy.errors import BoardError, ParityError, UsageError
from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.measure.table import table_rows
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.boards.bench import OTHER_IMAGES, READ_THERE
from lth_deploy.workflow.boards.images_there import ImagesThere, images_there
from lth_deploy.workflow.boards.options import BoardOptions
from tests.boards.conftest import Sample
from tests.boards.loopback import Loopback
from tests.tiny_artifact import save_data, save_decoder, save_tiny

QUICK = BenchmarkOptions(engines=("onnxruntime", "lth_deploy"), seconds=0.1, loads=1, bootstrap=10, timed_images=2)


def on_board(sample: Sample, folder: Path, host: str = "local", **more: bool) -> BenchmarkResults:
    boards = BoardOptions((host,), folder=str(folder), read_images="board", **more)
    return benchmark([sample.model], sample.data, sample.images, options=replace(QUICK, boards=boards))


def digests(images: Path) -> set[str]:
    return {storage.sha256(file) for file in images.iterdir()}


def test_a_board_reads_png_as_python_does(sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    results = on_board(sample, tmp_path / "board", ssh.host)
    here = benchmark([sample.model], sample.data, sample.images, options=replace(QUICK, engines=("onnxruntime",)))
    assert len(results.rows) == 3
    for row in results.rows:
        assert row.ap == here.rows[0].ap
        assert row.read_ms
        assert row.prepare_ms is not None
        assert not any(READ_THERE in note for note in row.notes)
    assert results.settings["hosts"]["read_images"] == "board"
    header, first, *_ = table_rows(results)
    cells = dict(zip(header, first, strict=True))
    assert float(cells["read ms"]) > 0
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "board").iterdir()}
    assert digests(sample.images) < set(kept)
    removed = on_board(sample, tmp_path / "board", ssh.host, remove=True)
    assert [row.ap for row in removed.rows] == [row.ap for row in results.rows]
    assert not (tmp_path / "board").exists()


def test_only_missing_images_are_copied(sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    """Also after a cut link, which the reading of images survives as everything else does."""
    dataset = load_coco(sample.data, sample.images)
    there = images_there(dataset.images)
    with Board(SshDriver(ssh.host), str(tmp_path / "board")) as board:
        digest = storage.sha256(sample.model)
        board.set_up({digest: sample.model})
        board.store(there.paths)
        folder = tmp_path / "board"
        first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert digests(sample.images) < set(first)
        damaged = folder / min(digests(sample.images))
        damaged.write_bytes(damaged.read_bytes()[:-1])
        board.store(there.paths)
        again = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
        assert {name for name in again if again[name] != first[name]} == {damaged.name}
        file, _ = there.input_of(LthDecoder(), dataset.images[0])
        opened = Opened(digest, True, 1)
        board.fill("s", file)
        expected = board.run(opened, "s")[0]
        assert ssh.cut() >= 1
        for name, value in board.run(opened, "s")[0].items():
            np.testing.assert_array_equal(value, expected[name])
        assert board.read("s").read_ms > 0
        damaged = folder / file.digest
        damaged.write_bytes(damaged.read_bytes()[:-5])
        with pytest.raises(BoardError, match=rf"{file.name} is cut short"):
            board.read("s")


@pytest.mark.parametrize("end", [-20, -2000], ids=["short", "shorter"])
def test_a_damaged_image_ends_the_benchmark_in_one_sentence(end: int, tmp_path: Path, sample: Sample) -> None:
    data, images = save_data(tmp_path / "data")
    (images / "3.png").write_bytes((images / "3.png").read_bytes()[:end])
    with pytest.raises(BoardError, match=r"local: 3\.png is cut short"):
        on_board(Sample(sample.model, data, images), tmp_path / "board")


def test_other_pixels_end_the_benchmark(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ImagesThere.input_of

    def exchanged(self: ImagesThere, decoder: LthDecoder, record: ImageRecord) -> tuple[ImageFile, object]:
        file, context = real(self, decoder, record)
        return replace(file, keys=tuple("bgr" if key == "rgb" else key for key in file.keys)), context

    monkeypatch.setattr(ImagesThere, "input_of", exchanged)
    (row, *_) = on_board(sample, tmp_path / "board").rows
    assert any(note.startswith(READ_THERE) for note in row.notes)
    narrow = replace(OTHER_IMAGES, score_floor=0.0, score_difference=1e-6)
    monkeypatch.setattr("lth_deploy.workflow.boards.bench.OTHER_IMAGES", narrow)
    with pytest.raises(ParityError, match=r"finds other things in images that it reads itself: .* nothing was timed"):
        on_board(sample, tmp_path / "board")


def test_decoders_of_the_users_own_prepare_images_here(tmp_path: Path, sample: Sample) -> None:
    decoder = save_decoder(tmp_path)
    (tmp_path / "named.py").write_text(
        (tmp_path / "named.py")
        .read_text()
        .replace(
            "    class_names", "    def prepare(self, image):\n        return super().prepare(image)\n\n    class_names"
        )
    )
    boards = BoardOptions(("local",), folder=str(tmp_path / "board"), read_images="board")
    options = replace(QUICK, decoder=decoder, boards=boards)
    with pytest.raises(UsageError, match=r"--read-images board: images for tiny\.onnx are prepared by a decoder"):
        benchmark([save_tiny(tmp_path / "tiny.onnx")], sample.data, sample.images, options=options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--read-images", "board"], "--read-images says how to measure on a host; name one with --host"),
        (["--host", "local", "--read-images", "here"], "--read-images here: write host or board"),
    ],
)
def test_the_option_is_held(given: list[str], message: str, sample: Sample) -> None:
    command = ["benchmark", str(sample.model), "--data", str(sample.data), "--images", str(sample.images), *given]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
