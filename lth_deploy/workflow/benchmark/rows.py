"""Rows of a benchmark, from what is known of a file and what was measured of it."""

from lth_deploy.measure.results import Row
from lth_deploy.workflow.benchmark.describe_file import FileDescription
from lth_deploy.workflow.benchmark.fixed_shape import shape_text
from lth_deploy.workflow.benchmark.measure_round import MeasuredRow, Opened


def make_row(described: FileDescription, opened: Opened, measured: MeasuredRow) -> Row:
    """A file on one engine with one number of threads."""
    candidate, weights = opened.candidate, described.weights
    return Row(
        name=candidate.name,
        path=described.path,
        sha256=described.sha256,
        kind=candidate.kind,
        engine=candidate.engine,
        precision=candidate.values,
        shape=shape_text(candidate.shapes) if candidate.shapes else None,
        engine_version=opened.artifact.session.describe()["version"],
        threads=measured.threads,
        bytes=described.bytes,
        bytes_zstd=described.bytes_zstd,
        bytes_coo=weights.bytes_coo,
        entropy_bytes=weights.entropy_bytes,
        parts=weights.parts,
        zero_weights=weights.zero_weights,
        zero_macs=weights.zero_macs,
        load_ms=[process.load_ms for process in measured.loads],
        first_ms=measured.first_ms,
        latency_ms=measured.latency,
        ratio_to_baseline=measured.ratio,
        times_best_dense=measured.times_best_dense,
        best_dense=measured.best_dense,
        peak_rss_bytes=measured.peak_rss_bytes,
        base_rss_bytes=measured.base_rss_bytes,
        ap=measured.accuracy.ap,
        ap_difference=measured.accuracy.difference,
        notes=[*candidate.notes, *described.notes, *measured.notes],
    )
