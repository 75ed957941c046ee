"""A host whose processor is qemu's: the AP of this process, and no times."""

import shlex
from pathlib import Path

import pytest

from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.boards.bench import EMULATED
from lth_deploy.workflow.boards.options import BoardOptions
from tests.consumers.consumers import Consumer, Export


def bundle_of(consumer: Consumer, folder: Path) -> Path:
    """A folder as --bundle takes it; its consumer is a script that starts the emulator."""
    folder.mkdir()
    (folder / "lth_consumer").write_text(f'#!/bin/sh\nexec {shlex.join(consumer.command)} "$@"\n')
    (folder / "liblth_ops.so").symlink_to(consumer.library)
    (folder / "libonnxruntime.so").symlink_to(consumer.runtime)
    return folder


@pytest.mark.slow
def test_64_bit_arm_under_qemu(arm: Consumer, export: Export, tmp_path: Path) -> None:
    boards = BoardOptions(("local",), folder=str(tmp_path / "board"), bundle=bundle_of(arm, tmp_path / "bundle"))
    options = BenchmarkOptions(seconds=0.05, loads=1, bootstrap=10)
    here = benchmark([export.model], export.data, export.images, options=options)
    there = benchmark(
        [export.model], export.data, export.images, options=BenchmarkOptions(loads=1, bootstrap=10, boards=boards)
    )
    (host,) = there.hosts
    assert host.emulated
    assert "asimd" in host.machine.isa
    assert [row.engine for row in there.rows] == ["onnxruntime", "onnxruntime", "lth_deploy"]
    for row in there.rows:
        assert row.ap == here.rows[0].ap
        assert (row.latency_ms, row.first_ms, row.peak_rss_bytes, row.load_ms) == (None, None, None, [])
        assert EMULATED in row.notes
