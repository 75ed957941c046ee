"""`benchmark --host`: by ssh and on this machine, with the AP of a local benchmark; nothing stays but the cache."""

from dataclasses import replace
from pathlib import Path

import pytest

from lth_deploy.errors import BoardError, UsageError
from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.measure.table import table_notes, table_rows
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.boards.options import BoardOptions
from tests.boards.conftest import Sample
from tests.boards.loopback import Loopback, children
from tests.waiting import SECONDS, wait_until

QUICK = BenchmarkOptions(engines=("onnxruntime", "lth_deploy"), seconds=0.1, loads=1, bootstrap=10)


def on_hosts(sample: Sample, boards: BoardOptions, options: BenchmarkOptions = QUICK) -> BenchmarkResults:
    return benchmark([sample.model], sample.data, sample.images, options=replace(options, boards=boards))


def test_two_hosts_have_the_rows_and_the_ap_of_this_process(sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    boards = BoardOptions(("local", ssh.host), folder=str(tmp_path / "board"), sustain=(0.3,))
    results = on_hosts(sample, boards, replace(QUICK, timed_images=2))
    here = benchmark([sample.model], sample.data, sample.images, options=replace(QUICK, engines=("onnxruntime",)))
    assert [host.name for host in results.hosts] == ["local", ssh.host]
    assert [(row.host, row.engine) for row in results.rows] == [
        (host, engine) for host in ("local", ssh.host) for engine in ("onnxruntime", "onnxruntime", "lth_deploy")
    ]
    assert all(row.ap == here.rows[0].ap for row in results.rows)
    for row in results.rows:
        assert row.latency_ms is not None
        assert row.latency_ms.n == len(row.latency_ms.samples)
        assert row.latency_ms.p50 is not None
        assert row.latency_ms.p99 is not None
        assert 0 < row.latency_ms.p50 <= row.latency_ms.p99
        assert len(row.conditions) == len(row.latency_ms.blocks) >= 5
        assert len(row.load_ms) == 1
        assert row.first_ms
        assert row.peak_rss_bytes
        assert row.base_rss_bytes
        assert row.base_rss_bytes < row.peak_rss_bytes < 1e9
        (sustained,) = row.sustained
        assert sustained.seconds is not None
        assert 0.25 <= sustained.seconds < SECONDS
        assert sustained.per_second
        assert (row.ratio_to_baseline is None) == (row.kind == "dense")
    assert BenchmarkResults.from_json(results.to_json()) == results
    server = ssh.process
    assert server is not None
    wait_until(lambda: not children(server.pid), "the end of all sessions on the board")
    header, *lines = table_rows(results)
    assert header[:3] == ["model", "host", "cores"]
    assert [line[1] for line in lines] == ["local"] * 3 + [ssh.host] * 3
    assert any(note.startswith(f"{ssh.host}: ") and "lth_consumer" in note for note in table_notes(results))


def test_programs_and_models_go_with_remove(sample: Sample, tmp_path: Path) -> None:
    quick = replace(QUICK, images=1, timed_images=1, threads=(1, 2), engines=("lth_deploy",))
    boards = BoardOptions(("local",), cores="all", folder=str(tmp_path / "board"), remove=True)
    results = on_hosts(sample, boards, quick)
    assert [(row.threads, row.cores, row.kind) for row in results.rows] == [
        (threads, "all", kind) for threads in (1, 2) for kind in ("dense", "packed")
    ]
    assert sum(results.hosts[0].programs.values()) > 10_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_fails_leaves_the_rows_of_the_others(sample: Sample, ssh: Loopback, tmp_path: Path) -> None:
    results = on_hosts(sample, BoardOptions(("local", "nobody@loopback-board"), folder=str(tmp_path / "board")))
    assert {row.host for row in results.rows} == {"local"}
    (said,) = results.settings["left_out"]
    assert "ssh must get in without a question" in said


def test_hosts_that_do_not_answer_are_refused_before_any_work(
    sample: Sample, ssh: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr("lth_deploy.workflow.benchmark.benchmark.board_candidates", work)
    with pytest.raises(BoardError, match="nobody@loopback-board cannot be reached: it refuses the login"):
        on_hosts(sample, BoardOptions(("nobody@loopback-board",), folder=str(tmp_path / "board")))
    with pytest.raises(BoardError, match=r"no host can be measured: .*nobody@loopback-board.*nowhere@loopback-board"):
        on_hosts(sample, BoardOptions(("nobody@loopback-board", "nowhere@loopback-board")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(QUICK, engines=("openvino",)), "--engine openvino: a host may lack it"),
        (
            replace(QUICK, shapes={"image": (8, 8, 3)}),
            "--shape: none of the engines fixes shapes; add openvino or ncnn",
        ),
        (replace(QUICK, threads=(4096,)), "fewer than --threads 4096"),
    ],
)
def test_what_hosts_do_not_measure_is_refused(
    options: BenchmarkOptions, words: str, sample: Sample, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        on_hosts(sample, BoardOptions(("local",), folder=str(tmp_path / "board")), options)
