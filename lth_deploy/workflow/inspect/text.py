"""The report of `inspect` as rows of text."""

from lth_deploy.workflow.inspect.coverage import coverage_facts
from lth_deploy.workflow.inspect.predicted_speed import speed_facts
from lth_deploy.workflow.inspect.report import InspectReport, Sparsity


def facts(report: InspectReport) -> list[tuple[str, str]]:
    """The figures of a report as label and text, for a table of two columns."""
    lines = [
        ("file", str(report.path)),
        ("format", f"{report.format}, opset {report.opset}"),
        ("bytes", f"{report.bytes:,} ({report.bytes_zstd:,} with zstd -19)"),
        ("dense fp32", f"{report.dense_bytes:,} ({report.dense_bytes / report.bytes:.2f}x)"),
        ("as sparse_initializer", f"{report.coo_bytes:,}"),
        ("entropy bound", f"{report.entropy_bytes:,} ({report.bytes / report.entropy_bytes:.3f}x)"),
        ("bytes that are zeros", f"{report.zero_bytes:,} ({report.zero_bytes / report.bytes:.1%})"),
        ("sparsity, prunable", _share(report.prunable)),
        ("sparsity, all parameters", _share(report.parameters)),
        ("zero MACs", _share(report.macs) if report.macs else "not known"),
    ]
    lines.extend(coverage_facts(report.coverage))
    metadata = report.metadata
    lines.append(("decoder", report.decoder))
    if metadata is not None:
        lines.append(("classes", ", ".join(c.name for c in metadata.classes[:12]) or "none named"))
        if (int8 := metadata.quantization) is not None:
            lines.append(("int8", f"{int8.method} over {int8.images} images; {len(int8.errors)} weights"))
        if metadata.int8_macs is not None:
            lines.append(("int8 MACs", f"{metadata.int8_macs:.1%} of the multiplications by weights"))
        if metadata.removed_channels:
            gone, whole = (sum(counts) for counts in zip(*metadata.removed_channels.values(), strict=True))
            lines.append(("channels removed", f"{gone:,} of {whole:,} in {len(metadata.removed_channels)} layers"))
        lines.extend(speed_facts(report.layers, metadata))
        lines.append(("recipe", metadata.recipe_digest or "none"))
    return lines + [("note", note) for note in report.notes]


def table(report: InspectReport) -> list[list[str]]:
    """Header and one row for each layer."""
    header = [
        "layer",
        "op",
        "shape",
        "zeros",
        "coding",
        "bytes",
        "x entropy",
        "MACs",
        "kernel",
        "ms sparse/dense",
        "empty quads",
        "int8 error",
        "why not",
    ]
    removed = report.metadata.removed_channels if report.metadata else {}
    rows = [header]
    total = report.macs.elements if report.macs else 0
    for row in report.layers:
        share = (row.positions or 0) * row.elements / total if total else 0.0
        rows.append(
            [
                row.name if row.uses == 1 else f"{row.name} (x{row.uses})",
                row.op_type,
                "x".join(map(str, row.shape)) + _removed(removed.get(row.name)),
                f"{row.zeros / row.elements:.1%}" if row.elements else "-",
                row.coding,
                f"{row.bytes:,}",
                f"{row.bytes / row.entropy_bytes:.3f}" if row.entropy_bytes else "-",
                f"{share:.1%}" if total and row.positions is not None else "-",
                row.region or "dense",
                "-" if row.predicted_ms is None else "{:.2f}/{:.2f}".format(*row.predicted_ms),
                "-" if row.empty_quads is None else f"{row.empty_quads:.1%}",
                "-" if row.error is None else f"{row.error:.2%}",
                "; ".join(filter(None, (row.reason, row.dense_because))),
            ]
        )
    return rows


def _removed(channels: tuple[int, int] | None) -> str:
    return "" if channels is None else f" ({channels[0]} of {channels[1]} outputs removed)"


def _share(sparsity: Sparsity) -> str:
    return f"{sparsity.share:.2%} ({sparsity.zeros:,} of {sparsity.elements:,})"
