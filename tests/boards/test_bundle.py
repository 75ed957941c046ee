"""Programs for a board: what they ask of its system, and what is refused before anything is copied."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
import pytest

from lth_deploy.boards import board as boards
from lth_deploy.boards.board import Board
from lth_deploy.boards.bundle import SMALL_LIBRARY, Bundle, given_bundle, suitable_bundle
from lth_deploy.boards.drivers import LocalDriver
from lth_deploy.boards.remote import System
from lth_deploy.errors import BoardError, UsageError
from tests.boards.conftest import Sample
from tests.cross import PROJECT

HERE = System("Linux", os.uname().machine, "64", "glibc 2.99")


def test_consumer_and_kernels_run_with_old_versions_of_glibc(programs: Bundle) -> None:
    own = Bundle(programs.consumer, programs.library, programs.consumer)
    assert (2, 2) <= own.glibc <= (2, 17)
    assert programs.glibc >= (2, 17), "ONNX Runtime asks for more"


def test_programs_for_boards_stay_small(programs: Bundle) -> None:
    """Stripped. On x86-64 a board without AVX-512 gets a library without the kernels for it."""
    small = programs.library.with_name(SMALL_LIBRARY)
    on_x86 = os.uname().machine == "x86_64"
    assert small.is_file() == on_x86
    assert (small if on_x86 else programs.library).stat().st_size < 2_000_000
    assert programs.library.stat().st_size < 3_400_000
    assert programs.consumer.stat().st_size < 1_000_000


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors have one library")
def test_a_board_without_avx512_gets_the_small_library(sample: Sample) -> None:
    found = {features: suitable_bundle("pi", replace(HERE, features=features)) for features in ("avx512", "-")}
    assert [found[one].library.name for one in found] == ["liblth_ops.so", "liblth_ops_small.so"]
    assert found["-"].consumer == found["avx512"].consumer
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    outputs, names = [], []
    for bundle in found.values():
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(str(bundle.library))
        with mock.patch.dict(os.environ, LTH_ISA="portable"):
            session = onnxruntime.InferenceSession(str(sample.model), options)
        outputs.append(session.run(None, {"image": image}))
        with mock.patch.dict(os.environ, LTH_ISA="none"), pytest.raises(Exception, match="use one of: ") as refused:
            onnxruntime.InferenceSession(str(sample.model), options)
        names.append(str(refused.value).split("use one of: ")[1].strip().split(", "))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert names[1] == [name for name in names[0] if "avx512" not in name and "amx" not in name]


def test_a_bundle_of_the_user_is_whole(tmp_path: Path) -> None:
    for name in ("lth_consumer", "liblth_ops.so"):
        with pytest.raises(UsageError, match=f"it has no {name}"):
            given_bundle(tmp_path)
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"it has no libonnxruntime\.so"):
        given_bundle(tmp_path)
    (tmp_path / "libonnxruntime.so.1.30.0").touch()
    assert given_bundle(tmp_path).runtime.name == "libonnxruntime.so.1.30.0"


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (System("Linux", "armv7l", "32", "glibc 2.31"), "programs exist for 64-bit Linux on aarch64 and x86_64"),
        (System("Linux", "aarch64", "32", "glibc 2.31"), "is Linux on aarch64 with 32-bit programs"),
        (System("Darwin", "arm64", "64", "?"), "is Darwin on arm64"),
        (System("Linux", "x86_64", "64", "musl"), "ONNX Runtime's wheels need glibc: give --bundle"),
        (System("Linux", "x86_64", "64", "glibc 2.17"), r"the programs need glibc 2\.99: give --bundle"),
    ],
)
def test_a_system_that_cannot_run_them_is_refused(
    system: System, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lth_consumer", "liblth_ops.so", "libonnxruntime.so"):
        (tmp_path / name).write_bytes(b"needs GLIBC_2.99 and GLIBC_2.5")
    monkeypatch.setattr(boards.remote, "look", lambda _: system)
    monkeypatch.setattr("lth_deploy.boards.bundle.find_bundle", lambda _: given_bundle(tmp_path))
    with pytest.raises(BoardError, match=words):
        Board(LocalDriver(), str(tmp_path / "board")).set_up({})
    assert not (tmp_path / "board").exists()


def test_a_board_with_musl_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root as Alpine has it: its loader is there, and its getconf knows nothing of glibc."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / f"ld-musl-{os.uname().machine}.so.1").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "getconf").write_text('#!/bin/sh\n[ "$1" = LONG_BIT ] && echo 64\n')
    (tmp_path / "bin" / "getconf").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(boards.remote, "_ROOT", str(tmp_path))
    with pytest.raises(
        BoardError, match="with 64-bit programs and musl; ONNX Runtime's wheels need glibc: give --bundle"
    ):
        Board(LocalDriver(), str(tmp_path / "board")).set_up({})
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("source", ["export/consumers/cpp/old_glibc.cpp", "lth_deploy/kernels/src/ort/old_glibc.cpp"])
def test_what_old_versions_of_glibc_need_is_nothing_with_musl(source: str, tmp_path: Path) -> None:
    """musl has no macro that tells its version, and its headers say nothing of glibc."""
    (tmp_path / "features.h").touch()
    command = ["g++", "-fsyntax-only", "-nostdinc", f"-I{tmp_path}", str(PROJECT / source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_another_processor_than_it_says_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("lth_consumer", "liblth_ops.so", "libonnxruntime.so"):
        (folder / name).write_bytes(b"\x7fELF of nobody")
    with Board(LocalDriver(), str(tmp_path / "board"), folder) as board:
        board.set_up({})
        with pytest.raises(BoardError, match="Exec format error; its processor is another one than it says"):
            board.hello()
