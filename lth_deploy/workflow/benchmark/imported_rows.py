"""Rows of a benchmark that were measured elsewhere: by another benchmark, or by a consumer on a board."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_deploy.errors import DataError, UsageError
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.measure.consumer import ConsumerReport
from lth_deploy.measure.latency import summarize
from lth_deploy.measure.machine import Machine
from lth_deploy.measure.results import BenchmarkResults, Latency, Row
from lth_deploy.workflow.evaluate import map_labels, score

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

Import = BenchmarkResults | ConsumerReport

_FILE_FIELDS = ("kind", "bytes_zstd", "bytes_coo", "entropy_bytes", "parts", "zero_weights", "zero_macs")


def read_import(path: Path) -> Import:
    """A file that `benchmark --json` or `lth_consumer --bench` wrote.

    Raises:
        UsageError: there is no such file.
        DataError: neither of the two, or with wrong values.
    """
    if not path.is_file():
        raise UsageError(f"--import: there is no file {path}; give the JSON of another benchmark or of lth_consumer")
    data = path.read_bytes()
    kind = ConsumerReport if _schema(data) == "lth-consumer/1" else BenchmarkResults
    return kind.from_json(data, str(path))


def _schema(data: bytes) -> object:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document.get("schema") if isinstance(document, dict) else None


def imported_rows(
    path: Path,
    found: Import,
    dataset: "CocoDataset",
    measured_here: Sequence[Row],
    classes: Mapping[str, Mapping[int, str]],
) -> list[Row]:
    """The rows of one file, each with a note of where and when it was measured.

    measured_here: rows of this benchmark, for what depends on the file only. classes: category ids and names of
    the files that took part, by digest.

    Raises:
        DataError: detections that no AP can be computed from.
    """
    if isinstance(found, BenchmarkResults):
        note = f"imported from {path.name}: measured {found.when} on {_short(found.machine)}"
        return [row.model_copy(update={"notes": [*row.notes, note]}) for row in found.rows]
    row = _row(path, found)
    row = row.model_copy(update=next((_file_fields(one) for one in measured_here if one.sha256 == row.sha256), {}))
    ap, notes = _scored(found, dataset, classes.get(row.sha256))
    return [row.model_copy(update={"ap": ap, "notes": [*row.notes, *notes]})]


def _file_fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _FILE_FIELDS}


def _row(path: Path, found: ConsumerReport) -> Row:
    engine = "onnxruntime" if found.library is None else "lth_deploy"
    forced = f", LTH_ISA={found.forced_isa}" if found.forced_isa else ""
    notes = [f"imported from {path.name}: measured {found.when} on {_short(found.machine)}{forced}"]
    measured: dict[str, Any] = {}
    if found.emulated:
        notes.append("ran in an emulator: its times and memory say nothing and are left out")
    else:
        latency = Latency.of(summarize([found.samples_ms]), [len(found.samples_ms)])
        measured = {
            **found.model_dump(include={"first_ms", "base_rss_bytes", "peak_rss_bytes"}),
            "load_ms": [found.load_ms],
            "latency_ms": latency,
        }
        notes.append("not timed beside the baseline: no ratio")
    return Row(
        name=Path(found.model.path).stem,
        path=found.model.path,
        sha256=found.model.sha256,
        kind="foreign",
        engine=f"{engine} C API{', emulated' if found.emulated else ''}",
        engine_version=found.onnxruntime,
        threads=found.threads,
        bytes=found.model.bytes,
        notes=notes,
        **measured,
    )


def _scored(
    found: ConsumerReport, dataset: "CocoDataset", classes: Mapping[int, str] | None
) -> tuple[dict[str, dict[str, float | None]] | None, list[str]]:
    """AP, and notes; none where images are missing, which would count as images without detections."""
    if found.detections is None or found.images is None:
        return None, ["no detections: AP is unknown"]
    wanted = {record.id for record in dataset.images}
    missing = len(wanted - set(found.images))
    if missing:
        return None, [f"detections for {len(wanted) - missing} of {len(wanted)} images only: no AP"]
    own = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    names = own if classes is None else classes
    unknown = {one.category_id for one in found.detections} - set(names)
    if unknown:
        raise DataError(
            f"{found.model.path} gave category {min(unknown)}, which is none of {sorted(names)}; score it on a data "
            "set with its classes"
        )
    mapping = map_labels(list(names.values()), dataset.class_names)
    labels = {number: label for label, number in enumerate(names, start=1)}
    by_image: dict[int, list[tuple[float, ...]]] = {number: [] for number in wanted}
    for one in found.detections:
        if one.image_id in by_image:
            left, top, width, height = one.bbox
            by_image[one.image_id].append((left, top, left + width, top + height, one.score, labels[one.category_id]))
    compact = {}
    for number, rows in by_image.items():
        table = np.array(rows, np.float64).reshape(-1, 6)
        boxes, scores = table[:, :4].astype(np.float32), table[:, 4].astype(np.float32)
        compact[number] = mapping.apply(CompactDetections(boxes, scores, table[:, 5].astype(np.int64)))
    result = score(dataset, compact)
    notes = [] if classes is not None else ["its file took no part: categories were matched by id"]
    return result.metrics, [*result.notes, *mapping.notes, *notes]


def _short(machine: Machine) -> str:
    return f"{machine.cpu}, {machine.cores} cores, {' '.join(machine.isa)}"
