"""What a file says of its speed with the kernel library: predicted from a table, or measured when it was tuned."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from lth_deploy.compiler.artifact.metadata import WHOLE, ArtifactMetadata
from lth_deploy.compiler.model.input_sizes import sizes_text


class Row(Protocol):
    """A weight layer; predicted_ms: sparse and dense, None when nobody predicted."""

    @property
    def region(self) -> str | None:
        """The operator that computes it with the kernel library."""

    @property
    def predicted_ms(self) -> tuple[float, float] | None:
        """Milliseconds of its layer on one thread."""


def predicted_times(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Milliseconds of all layers together, with the kernels and dense; None without regions, or of no time."""
    known = [(row.region, row.predicted_ms) for row in rows if row.predicted_ms is not None]
    if all(region is None for region, _ in known):
        return None
    kernels = sum(times[0] if region is not None else times[1] for region, times in known)
    return (kernels, sum(times[1] for _, times in known)) if kernels > 0 else None


def predicted_model(rows: Iterable[Row], metadata: ArtifactMetadata) -> tuple[float, float] | None:
    """The same of the whole model; None too where nobody profiled what is no layer."""
    layers = predicted_times(rows)
    if layers is None or metadata.rest is None:
        return None
    return layers[0] + metadata.rest[0], layers[1] + metadata.rest[1]


def speed_facts(rows: Sequence[Row], metadata: ArtifactMetadata) -> list[tuple[str, str]]:
    """Label and text of what is known; nothing for files without regions."""
    lines = []
    layers, model = predicted_times(rows), predicted_model(rows, metadata)
    if metadata.predicted_for and (layers is not None or metadata.measured is not None):
        shapes = {name: tuple(shape) for name, shape in metadata.predicted_for.items()}
        lines.append(("times are for", sizes_text(shapes)))
    if layers is not None:
        lines.append(("layers, predicted", _gain(layers)))
        unknown = "not known: what is no layer was not timed; export again, with a profile"
        lines.append(("model, predicted", unknown if model is None else _gain(model)))
        if model is not None:
            lines.append(("how sure", _sure(model, metadata)))
        if metadata.costs is not None:
            lines.append(("predicted from", metadata.costs))
    if metadata.measured is not None:
        times = metadata.measured.times
        regions = {name: pair for name, pair in times.items() if name != WHOLE}
        for name, (ours, stock) in regions.items():
            lines.append((name, f"{stock / ours:.2f}x ({ours:.2f} ms with kernels, {stock:.2f} dense)"))
        if WHOLE in times:
            ours, stock = times[WHOLE]
            saved = sum(pair[1] - pair[0] for pair in regions.values())
            whole = stock / (stock - saved) if stock > saved else float("inf")
            lines.append(("model from its regions", f"{whole:.2f}x"))
            lines.append(("model, measured", f"{stock / ours:.2f}x ({ours:.2f} ms with kernels, {stock:.2f} dense)"))
            lines.append(("measured on", metadata.measured.cpu))
    return lines


def _sure(times: tuple[float, float], metadata: ArtifactMetadata) -> str:
    """Between which ratios the true one lies on most models."""
    if metadata.prediction_error is None:
        return "not known: the table of costs was not made by lth-deploy measure-costs"
    ratio, off = times[1] / times[0], 1.0 + metadata.prediction_error
    return f"on most models between {ratio / off:.2f}x and {ratio * off:.2f}x"


def _gain(times: tuple[float, float]) -> str:
    kernels, dense = times
    return f"{dense / kernels:.2f}x ({kernels:.1f} ms with kernels, {dense:.1f} dense)"
