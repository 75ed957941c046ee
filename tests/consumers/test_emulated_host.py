"""A host whose processor is qemu's: the AP of this process, and no times."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.boards.bench import EMULATED, READ_THERE
from lth_deploy.workflow.boards.options import BoardOptions
from tests.consumers.consumers import Consumer, Export
from tests.cross import PROJECT


def bundle_of(consumer: Consumer, folder: Path) -> Path:
    """A folder as --bundle takes it; its consumer is a script that starts the emulator."""
    folder.mkdir()
    (folder / "lth_consumer").write_text(f'#!/bin/sh\nexec {shlex.join(consumer.command)} "$@"\n')
    (folder / "liblth_ops.so").symlink_to(consumer.library)
    (folder / "libonnxruntime.so").symlink_to(consumer.runtime)
    return folder


@pytest.mark.slow
def test_64_bit_arm_under_qemu(arm: Consumer, export: Export, tmp_path: Path) -> None:
    bundle = bundle_of(arm, tmp_path / "bundle")
    boards = BoardOptions(("local",), folder=str(tmp_path / "board"), bundle=bundle, read_images="board")
    engines = ("onnxruntime", "lth_deploy")
    options = BenchmarkOptions(engines=engines, seconds=0.05, loads=1, bootstrap=10)
    here = benchmark([export.model], export.data, export.images, options=options)
    there = benchmark([export.model], export.data, export.images, options=replace(options, boards=boards))
    (host,) = there.hosts
    assert host.emulated
    assert "asimd" in host.machine.isa
    assert [row.engine for row in there.rows] == ["onnxruntime", "onnxruntime", "lth_deploy"]
    for row in there.rows:
        assert row.ap == here.rows[0].ap
        assert (row.latency_ms, row.first_ms, row.peak_rss_bytes, row.load_ms) == (None, None, None, [])
        assert EMULATED in row.notes
        assert not any(READ_THERE in note for note in row.notes), "PNG has the same pixels everywhere"


@pytest.mark.slow
def test_a_committed_ticket_on_64_bit_arm(arm: Consumer, shared_data: Path, tmp_path: Path) -> None:
    """INT8 is summed exactly on every processor, so the detections of the kernels are those of this machine."""
    ticket = PROJECT / "benchmarks" / "artifacts" / "bccd_retinanet_r18-80-2x4-int8.onnx"
    data, images = shared_data / "data/bccd/annotations/test.json", shared_data / "data/bccd/images"
    boards = BoardOptions(("local",), folder=str(tmp_path / "board"), bundle=bundle_of(arm, tmp_path / "bundle"))
    engines = ("onnxruntime", "lth_deploy")
    options = BenchmarkOptions(engines, seconds=0.05, loads=1, bootstrap=10, images=3, timed_images=1)
    here = benchmark([ticket], data, images, options=options)
    there = benchmark([ticket], data, images, options=replace(options, boards=boards))
    assert there.hosts[0].emulated
    for one, row in zip(here.rows, there.rows, strict=True):
        assert (row.engine, row.latency_ms) == (one.engine, None)
        assert row.ap == one.ap
