"""Other engines on a board: OpenVINO's real library, ncnn by its C API, and boards that have neither."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lth_deploy import storage
from lth_deploy.boards.board import Board
from lth_deploy.boards.bundle import Bundle
from lth_deploy.boards.drivers import LocalDriver
from lth_deploy.boards.engines import EngineFiles, Opened, engine_files
from lth_deploy.boards.link import Link
from lth_deploy.boards.remote import System
from lth_deploy.errors import BoardError
from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.measure.table import table_notes
from lth_deploy.runtimes import RUNTIMES, ncnn
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.boards.options import BoardOptions
from tests.boards.conftest import Sample, Start
from tests.boards.requests import fed, ran
from tests.tiny_artifact import save_tiny

OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not OPENVINO, reason="the openvino extra is not installed")
QUICK = BenchmarkOptions(seconds=0.1, loads=1, bootstrap=10, timed_images=2)
MACHINE = os.uname().machine


def compiled(source: Path, folder: Path, name: str) -> Path:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    assert compiler is not None
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-fvisibility=hidden", str(source), "-o", str(folder / name)], check=True, timeout=300)
    return folder / name


@pytest.fixture(scope="session")
def fake_ncnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(Path(__file__).with_name("fake_ncnn.cpp"), tmp_path_factory.mktemp("ncnn"), "libncnn.so.1")


@pytest.fixture
def network(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "layers.param").write_text("scale 2.5\n")
    (tmp_path / "layers.bin").write_text("-1\n")
    return tmp_path / "layers.param", tmp_path / "layers.bin"


@pytest.fixture
def plain(programs: Bundle) -> Iterator[Link]:
    """A consumer without sanitizers, which refuse the way in which OpenVINO loads libraries (RTLD_DEEPBIND)."""
    link = Link(LocalDriver(), 'exec "$@"', [str(programs.consumer), "serve"])
    yield link
    link.close()


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (1, 2, 4, 8), (1, 4, 6), (1, 5)])
def test_ncnn_gets_and_gives_matrices_with_gaps_between_channels(
    shape: tuple[int, ...], start: Start, fake_ncnn: Path, network: tuple[Path, Path]
) -> None:
    link, (layers, weights) = start(), network
    assert link.ask(["engine", "ncnn", "/none.so", str(fake_ncnn)], seconds=300)[0]["version"] == "1.0.fake"
    dims = "x".join(map(str, shape))
    words = ["open", "0", "ncnn", "3", str(layers), "weights", str(weights), "input", "an image", dims]
    outputs = ["output", "scaled", "1", "output", "means", "1", "output", "threads", "1"]
    assert link.ask([*words, *outputs], seconds=300)[0]["load_ms"] > 0
    for seed in range(2):
        image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        fed(link, "s", {"an image": image})
        found = ran(link, "0", "s")
        assert list(found) == ["scaled", "means", "threads"]
        np.testing.assert_allclose(found["scaled"], 2.5 * image[0] - 1, rtol=1e-6)
        means = image[0].mean((1, 2)) if len(shape) == 4 else [image.mean()]
        np.testing.assert_allclose(found["means"], means, rtol=1e-4, atol=1e-6)
        assert found["threads"].tolist() == [3.0]
    assert link.ask(["block", "0", "s", "1", "5"], seconds=300)[0]["samples_ms"]
    fed(link, "wrong", {"an image": np.zeros((1, 9), np.float32)})
    with pytest.raises(BoardError, match="ncnn has no input an image of the shape to which the model is fixed"):
        ran(link, "0", "wrong")
    fed(link, "bytes", {"an image": np.zeros(shape, np.uint8)})
    with pytest.raises(BoardError, match="ncnn takes one image of float32 at a time"):
        ran(link, "0", "bytes")
    link.ask([*words, "output", "a", "1", "output", "b", "1", "output", "c", "1", "output", "lost", "1"], seconds=300)
    fed(link, "s", {"an image": image})
    with pytest.raises(BoardError, match="ncnn fails at output lost"):
        ran(link, "0", "s")
    for files, message in (
        ((weights, weights), "cannot read the layers"),
        ((layers, layers), "cannot read the weights"),
    ):
        with pytest.raises(BoardError, match=f"ncnn {message} of "):
            link.ask(["open", "1", "ncnn", "1", str(files[0]), "weights", str(files[1])], seconds=300)


@needs_openvino
@pytest.mark.parametrize("fixed", [False, True])
def test_openvino_finds_what_onnx_runtime_finds(fixed: bool, plain: Link, tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "tiny.onnx")
    session = onnxruntime.InferenceSession(str(path))
    link = plain
    files = {file.name: file for file in engine_files("openvino", MACHINE).files}
    (library,) = (str(file) for name, file in files.items() if name.startswith("libopenvino_c.so"))
    version = link.ask(["engine", "openvino", library], seconds=300)[0]["version"]
    assert version == RUNTIMES.get("openvino").version()
    words = ["open", "0", "openvino", "1", str(path)]
    words += ["input", "image", "72x96x3"] if fixed else []
    outputs = ["output", "boxes", "1", "output", "scores", "1", "output", "labels", "7"]
    link.ask([*words, *outputs], seconds=300)
    for shape in [(72, 96, 3)] if fixed else [(72, 96, 3), (40, 56, 3)]:
        image = np.random.default_rng(shape[0]).integers(0, 256, shape).astype(np.uint8)
        fed(link, "s", {"image": image})
        for _ in range(2):
            found = ran(link, "0", "s")
            for name, exact in zip(("boxes", "scores", "labels"), session.run(None, {"image": image}), strict=True):
                assert found[name].dtype == exact.dtype
                np.testing.assert_allclose(found[name], exact, rtol=1e-4, atol=1e-6)
    fed(link, "wrong", {"image": np.zeros((72, 96, 3), np.float32)})
    with pytest.raises(BoardError, match="input image has another type in the model"):
        ran(link, "0", "wrong")
    with pytest.raises(BoardError, match="OpenVINO finds 3 outputs in a model of 2"):
        link.ask([*words, *outputs[:6]], seconds=300)
    with pytest.raises(BoardError, match="OpenVINO: "):
        link.ask(["open", "1", "openvino", "1", str(tmp_path / "none.onnx")], seconds=300)
    link.ask([*words, *outputs[:-1], "1"], seconds=300)
    fed(link, "s", {"image": image})
    with pytest.raises(BoardError, match="output labels has another type in OpenVINO"):
        ran(link, "0", "s")


@needs_openvino
def test_what_is_copied_of_openvino_runs_where_nothing_else_of_it_is(tmp_path: Path) -> None:
    files = engine_files("openvino", MACHINE)
    names = {file.name.partition(".so")[0] for file in files.files}
    assert {"libopenvino", "libopenvino_c", "libopenvino_onnx_frontend", "libtbb"} < names
    assert not any("gpu" in name or "tensorflow" in name for name in names)
    model = save_tiny(tmp_path / "tiny.onnx")
    digest = storage.sha256(model)
    outputs = (("boxes", 1), ("scores", 1), ("labels", 7))
    with Board(LocalDriver(), str(tmp_path / "board")) as board:
        board.set_up({})
        assert board.add_engine(files, {digest: model}) == RUNTIMES.get("openvino").version()
        board.fill("s", {"image": np.zeros((32, 40, 3), np.uint8)})
        found, _ = board.run(Opened(digest, False, 1, "openvino", outputs=outputs), "s")
        assert list(found) == ["boxes", "scores", "labels"]
        board.clean_up()
    assert not (tmp_path / "board").exists()


def test_an_engine_that_a_board_lacks_is_one_sentence(tmp_path: Path, programs: Bundle) -> None:
    with Board(LocalDriver(), str(tmp_path / "board")) as board:
        board.set_up({})
        with pytest.raises(BoardError, match=r"local: cannot load ncnn: libnone\.so: .*; install it there"):
            board.add_engine(EngineFiles("ncnn", ("libnone.so",), (), "install it there"), {})
        board._system = System("Linux", MACHINE, "64", "musl")
        with pytest.raises(BoardError, match=r"local has musl, openvino needs glibc 2\."):
            board.add_engine(EngineFiles("openvino", (), (programs.runtime,)), {})
        assert board.engine("onnxruntime") == onnxruntime.__version__


def test_an_engine_that_crashes_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "crash.cpp").write_text(
        "#include <cstdlib>\n__attribute__((constructor)) static void crash() { std::abort(); }\n"
    )
    library = compiled(tmp_path / "crash.cpp", tmp_path, "libncnn.so")
    with Board(LocalDriver(), str(tmp_path / "board")) as board:
        board.set_up({})
        with pytest.raises(BoardError, match="an abort"):
            board.add_engine(engine_files("ncnn", MACHINE, library), {})
        assert board.engine("onnxruntime") == onnxruntime.__version__


def on_local(sample: Sample, folder: Path, **more: object) -> BenchmarkResults:
    boards = BoardOptions(("local",), folder=str(folder / "board"), **more)  # type: ignore[arg-type]
    engines = ("onnxruntime", "lth_deploy", "openvino", "ncnn")
    options = replace(QUICK, engines=engines, boards=boards)
    return benchmark([sample.model], sample.data, sample.images, options=options)


@needs_openvino
def test_rows_of_other_engines_stand_beside_ours(sample: Sample, tmp_path: Path) -> None:
    results = on_local(sample, tmp_path)
    assert [(row.engine, row.kind) for row in results.rows[:3]] == [
        ("onnxruntime", "dense"),
        ("onnxruntime", "packed"),
        ("lth_deploy", "packed"),
    ]
    peers = results.rows[3:]
    assert {row.engine for row in peers} == {"openvino"}
    assert [row.shape for row in peers][:1] == [None]
    for row in peers:
        assert row.engine_version == RUNTIMES.get("openvino").version()
        assert (row.kind, row.precision, row.host) == ("dense", "fp32", "local")
        assert row.ap == results.rows[0].ap
        assert row.latency_ms is not None
        assert len(row.conditions) == len(row.latency_ms.blocks) >= 5
        assert row.ratio_to_baseline is not None
        assert row.load_ms
        assert row.base_rss_bytes is not None
        assert row.peak_rss_bytes is not None
        assert row.base_rss_bytes < row.peak_rss_bytes
    (said,) = results.left_out
    assert said.startswith("ticket-dense on ncnn"), "its image is no float32"
    assert f"not measured: {said}" in table_notes(results)


def test_a_board_has_ncnn_or_says_that_it_has_not(
    sample: Sample, fake_ncnn: Path, network: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pnnx and ncnn are stand-ins: a file that ncnn loads, and outputs that are not those of the detector."""
    interface = ncnn.Interface({"image": (1, 3, 4, 8)}, {"boxes": 4, "scores": 1, "labels": None})
    monkeypatch.setattr("lth_deploy.workflow.boards.placed.read_interface", lambda *_: interface)
    monkeypatch.setattr("lth_deploy.workflow.boards.placed.converted", lambda *_: network[0])
    monkeypatch.setattr("lth_deploy.boards.engines._NCNN_NAMES", ("libnone.so.1", "libnone.so"))
    absent = on_local(sample, tmp_path)
    assert "ncnn" not in {row.engine for row in absent.rows}
    assert any("ncnn is left out: local: cannot load ncnn: libnone.so.1: " in said for said in absent.left_out)
    assert any("give --ncnn-library with one for that processor" in said for said in absent.left_out)
    there = on_local(sample, tmp_path, ncnn_library=fake_ncnn)
    assert "ncnn" not in {row.engine for row in there.rows}
    assert any("ncnn has no input image of the shape" in said for said in there.left_out), "it ran, and was refused"
