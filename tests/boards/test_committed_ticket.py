"""A committed ticket on a host by ssh, as a user types it: the AP of this process."""

import subprocess
import sys
from pathlib import Path

import pytest

from lth_deploy.measure.results import load_benchmark
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from tests.boards.loopback import Loopback
from tests.cross import PROJECT

TICKET = PROJECT / "benchmarks" / "artifacts" / "bccd_retinanet_r18-80-2x4-int8.onnx"


@pytest.mark.slow
def test_a_committed_ticket_is_measured_by_ssh(shared_data: Path, ssh: Loopback, tmp_path: Path) -> None:
    data, images = shared_data / "data/bccd/annotations/test.json", shared_data / "data/bccd/images"
    command = [sys.executable, "-m", "lth_deploy", "benchmark", TICKET, "--data", data, "--images", images]
    command += ["--host", ssh.host, "--board-folder", tmp_path / "board", "--limit", 12, "--time", "0.5s"]
    command += ["--json", tmp_path / "board.json", "--remove"]
    subprocess.run([str(part) for part in command], check=True, timeout=600)
    results, _ = load_benchmark(tmp_path / "board.json")
    options = BenchmarkOptions(("onnxruntime", "lth_deploy"), seconds=0.1, images=12, loads=1, bootstrap=10)
    here = benchmark([TICKET], data, images, options=options)
    assert [row.engine for row in results.rows[:3]] == ["onnxruntime", "onnxruntime", "lth_deploy"]
    for there, one in zip(results.rows, here.rows, strict=False):
        assert (there.name, there.engine, there.host) == (one.name, one.engine, ssh.host)
        assert there.ap == one.ap
        assert there.latency_ms is not None
        assert there.ratio_to_baseline is None or there.ratio_to_baseline.low is not None
    for peer in results.rows[3:]:
        assert peer.ap_of("bbox") == pytest.approx(results.rows[0].ap_of("bbox"), abs=0.01)
    assert not (tmp_path / "board").exists()
