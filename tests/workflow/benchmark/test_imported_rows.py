"""Rows from elsewhere: scored here, never timed here, and nothing is taken on trust."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lth_deploy import storage
from lth_deploy.data.coco.load import load_coco
from lth_deploy.errors import DataError, UsageError
from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.measure.table import HEADER, table_rows
from lth_deploy.workflow.benchmark.imported_rows import imported_rows, read_import
from tests.tiny_artifact import BOXES, CLASSES, IDS, save_data

DIGEST = "ab" * 32
KNOWN = Row(
    name="ticket",
    path="x",
    sha256=DIGEST,
    kind="packed",
    engine="onnxruntime",
    engine_version="1",
    threads=1,
    bytes=10,
    bytes_zstd=9,
    zero_macs=0.8,
    ap={"bbox": {"AP": 0.1}},
)


def report() -> dict[str, Any]:
    """What a perfect detector on a board would hand in."""
    corners = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in BOXES]
    return {
        "schema": "lth-consumer/1",
        "when": "2026-01-01T00:00:00+00:00",
        "model": {"path": "board/ticket.onnx", "sha256": DIGEST, "bytes": 10},
        "machine": {"cpu": "Cortex-A72", "cores": 4, "isa": ["asimd"], "os": "Linux", "memory": 1},
        "emulated": False,
        "onnxruntime": "1.32.0",
        "library": "/usr/lib/liblth_ops.so",
        "forced_isa": None,
        "threads": 2,
        "load_ms": 30.0,
        "first_ms": 3.0,
        "base_rss_bytes": 5,
        "peak_rss_bytes": 6,
        "p50_ms": 2.0,
        "p90_ms": 2.8,
        "samples_ms": [1.0, 2.0, 3.0],
        "images": [1, 2, 3, 4],
        "detections": [
            {"image_id": image, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9}
            for image in (1, 2, 3, 4)
            for (x1, y1, x2, y2), category in zip(corners, IDS, strict=True)
        ],
    }


Imported = Callable[..., Row]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """The row of a report with some fields changed."""
    dataset = load_coco(*save_data(tmp_path))

    def row(*, names: tuple[str, ...] | None = CLASSES, known: list[Row] | None = None, **changed: Any) -> Row:
        path = tmp_path / "board.json"
        path.write_text(json.dumps({**report(), **changed}))
        classes = {DIGEST: dict(zip(IDS, names, strict=True))} if names else {}
        (one,) = imported_rows(path, read_import(path), dataset, [KNOWN] if known is None else known, classes)
        return one

    return row


def cells(row: Row) -> dict[str, str]:
    results = BenchmarkResults.model_validate(
        {"schema": "lth-benchmark/1", "when": "", "machine": report()["machine"], "versions": {}, "rows": [row]}
    )
    assert BenchmarkResults.from_json(results.to_json()) == results
    header, line = table_rows(results)
    return dict(zip(header, line, strict=True))


def test_a_board_s_row_has_its_times_and_the_ap_of_its_detections(imported: Imported) -> None:
    row = imported()
    assert row.ap is not None
    assert row.ap["bbox"]["AP"] == pytest.approx(1.0)
    assert (row.name, row.engine, row.threads, row.kind) == ("ticket", "lth_deploy C API", 2, "packed")
    assert (row.bytes_zstd, row.zero_macs, row.ratio_to_baseline) == (9, 0.8, None)
    assert row.latency_ms is not None
    assert (row.latency_ms.p50, row.latency_ms.n, row.load_ms, row.first_ms) == (2.0, 3, [30.0], 3.0)
    assert "measured 2026-01-01T00:00:00+00:00 on Cortex-A72, 4 cores, asimd" in row.notes[0]
    assert cells(row)["AP"] == "100.0"


def test_worse_detections_score_worse(imported: Imported) -> None:
    half = [one for one in report()["detections"] if one["category_id"] == IDS[0]]
    row = imported(detections=half)
    assert row.ap is not None
    assert row.ap["bbox"]["AP"] == pytest.approx(0.5)


def test_an_emulator_s_times_are_not_shown(imported: Imported) -> None:
    row = imported(emulated=True)
    line = cells(row)
    assert line["engine"] == "lth_deploy C API, emulated 1.32.0"
    times = HEADER[HEADER.index("load ms") :]
    assert {line[name] for name in times} == {"-"}
    assert "emulator" in " ".join(row.notes)
    assert line["AP"] == "100.0"


def test_a_file_that_took_no_part_is_foreign(imported: Imported) -> None:
    row = imported(known=[], names=None, library=None)
    assert (row.kind, row.engine, row.bytes_zstd) == ("foreign", "onnxruntime C API", None)
    assert row.ap is not None
    assert row.ap["bbox"]["AP"] == pytest.approx(1.0)
    assert "matched by id" in row.notes[-1]


def test_classes_are_matched_by_name_where_the_file_is_known(imported: Imported) -> None:
    row = imported(names=("dust", "cell"))
    assert row.ap is not None
    assert row.ap["bbox"]["AP"] == pytest.approx(0.0)


def test_images_that_were_left_out_are_no_misses(imported: Imported) -> None:
    first = [one for one in report()["detections"] if one["image_id"] == 1]
    row = imported(images=[1], detections=first)
    assert row.ap is None
    assert row.notes[-1] == "detections for 1 of 4 images only: no AP"
    assert imported(images=None, detections=None).ap is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples_ms": []}, "samples_ms"),
        ({"samples_ms": [0.0]}, "samples_ms"),
        ({"threads": "many"}, "threads"),
        ({"color": "red"}, "color"),
        ({"images": [1]}, "images must be all"),
        ({"images": None}, "images must be all"),
        ({"model": {"path": "x", "sha256": "short", "bytes": 1}}, "sha256"),
        ({"schema": "lth-consumer/2"}, "schema"),
    ],
)
def test_faulty_reports_are_refused(changed: dict[str, Any], message: str, imported: Imported) -> None:
    with pytest.raises(DataError, match=rf"board\.json.*{message}"):
        imported(**changed)


def test_an_unknown_category_is_refused(imported: Imported) -> None:
    strange = [{"image_id": 1, "category_id": 77, "bbox": [0, 0, 1, 1], "score": 1.0}]
    with pytest.raises(DataError, match="category 77"):
        imported(detections=strange)


def test_what_is_no_json_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        read_import(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    storage.write_json(tmp_path / "other.json", {"schema": "else"})
    for name in ("list.json", "other.json"):
        with pytest.raises(DataError, match=name):
            read_import(tmp_path / name)
