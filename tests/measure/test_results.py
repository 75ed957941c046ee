"""Results survive JSON, refuse damage by place, and become a table without losing a row."""

import json
from pathlib import Path

import pytest

from lth_deploy.errors import DataError
from lth_deploy.measure.latency import summarize
from lth_deploy.measure.machine import describe_machine
from lth_deploy.measure.results import BenchmarkResults, Latency, RatioInterval, Row, load_benchmark
from lth_deploy.measure.table import ABSENT, table_notes, table_rows

COMMITTED = Path(__file__).parents[2] / "benchmarks/results"


def results() -> BenchmarkResults:
    dense = Row(
        name="dense",
        path="dense.onnx",
        sha256="0" * 64,
        kind="dense",
        engine="onnxruntime",
        engine_version="1.0",
        threads=1,
        bytes=4_000_000,
        bytes_zstd=3_900_000,
        latency_ms=Latency.of(summarize([[20.0, 21.0], [19.0]]), [2, 1]),
        load_ms=[30.0, 10.0, 20.0],
        ap={"bbox": {"AP": 0.3351, "APs": None}},
    )
    ticket = dense.model_copy(
        update={
            "name": "ticket",
            "kind": "packed",
            "ratio_to_baseline": RatioInterval(median=0.5, low=0.45, high=0.55),
            "zero_weights": 0.8,
            "ap": {"bbox": {"AP": 0.0}, "segm": {"AP": 0.25}},
            "notes": ["decodes at load"],
        }
    )
    return BenchmarkResults(
        when="2026-01-01T00:00:00Z", machine=describe_machine(), versions={"numpy": "2"}, rows=[dense, ticket]
    )


def test_json_round_trip_keeps_every_sample() -> None:
    before = results()
    after = BenchmarkResults.from_json(before.to_json())
    assert after == before
    assert after.rows[0].latency_ms is not None
    assert after.rows[0].latency_ms.samples == [20.0, 21.0, 19.0]
    assert json.loads(before.to_json())["schema"] == "lth-benchmark/1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(schema="other/1"), "schema"),
        (lambda data: data["rows"][1].update(bytes="many"), r"rows\.1\.bytes"),
        (lambda data: data["rows"][0].update(surprise=1), r"rows\.0\.surprise"),
        (lambda data: data.pop("machine"), "machine"),
        (lambda data: data["rows"][0].pop("engine"), r"rows\.0\.engine"),
        (lambda data: data["rows"][0].update(kind="odd"), r"rows\.0\.kind"),
        (lambda data: data["rows"][0]["ap"]["bbox"].update(AP=float("inf")), r"rows\.0\.ap"),
    ],
)
def test_damage_is_refused_with_file_and_place(change, words: str) -> None:
    data = json.loads(results().to_json())
    change(data)
    with pytest.raises(DataError, match=f"old.json: .*{words}"):
        BenchmarkResults.from_json(json.dumps(data), "old.json")


def test_every_committed_benchmark_is_the_same_to_both_policies() -> None:
    found = [path for path in COMMITTED.glob("*.json") if b'"lth-benchmark/1"' in path.read_bytes()]
    assert found
    for path in found:
        assert load_benchmark(path)[0] == BenchmarkResults.from_json(path.read_bytes(), path.name)


def test_a_report_reads_what_an_import_refuses(tmp_path: Path) -> None:
    data = json.loads(results().to_json())
    for key in ("kind", "threads", "sha256"):
        del data["rows"][0][key]
    data["rows"][0]["latency_ms"] = {"p50": 20.0, "surprise": 1}
    data["rows"][1]["bytes"] = float("nan")
    data["surprise"] = data["machine"].pop("os")
    (tmp_path / "old.json").write_text(json.dumps(data))
    read, _ = load_benchmark(tmp_path / "old.json")
    first, second = read.rows
    assert (first.kind, first.threads, first.sha256, first.p50, second.bytes) == ("dense", None, "", 20.0, None)
    assert read.machine.os == ""
    with pytest.raises(DataError, match=r"old\.json"):
        BenchmarkResults.from_json((tmp_path / "old.json").read_bytes(), "old.json")


def test_table_has_a_cell_for_every_column_and_tells_zero_from_absent() -> None:
    header, dense, ticket = table_rows(results())
    assert len(header) == len(dense) == len(ticket)
    cell = dict(zip(header, ticket, strict=True))
    assert (cell["AP"], cell["mask AP"], cell["zero MACs"]) == ("0.0", "25.0", ABSENT)
    assert cell["time / dense"] == "0.50 [0.45, 0.55]"
    assert dict(zip(header, dense, strict=True))["mask AP"] == ABSENT
    assert cell["load ms"] == "20.0"


def test_notes_name_machine_versions_and_rows() -> None:
    text = "\n".join(table_notes(results()))
    assert "numpy 2" in text
    assert "ticket (onnxruntime, 1 threads): decodes at load" in text
