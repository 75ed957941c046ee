"""Plots of an analysis about layers: zeros and multiplications of each, and how far masks agree."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lth_deploy.reporting import number_text
from lth_deploy.reporting.analysis.plots import TrialStyle
from lth_deploy.reporting.analysis.schema import Overlap
from lth_deploy.reporting.analysis.tables import MOST_PAIRS
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, short
from lth_deploy.run.summary import LayerSummary, TrialSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 11.4
_MOST_MASKS = 12
_LINES = {"random": ":", "reinit": "--", "int8": "-."}
"""Controls have a ticket's own sparsities: their lines lie on its line."""


def zeros(trials: Sequence[TrialSummary], styles: Sequence[TrialStyle], name: str) -> str | None:
    """Share of zeros in each layer, from input to output, one line a trial."""
    layers = trials[0].layers if trials else []
    if not layers:
        return None
    with drawing():
        canvas = Canvas(_WIDTH, 3.5)
        axes = canvas.axes
        for trial, style in zip(trials, styles, strict=True):
            shares = [100 * layer.zeros / layer.elements if layer.elements else 0 for layer in trial.layers]
            (line,) = axes.plot(
                range(len(shares)),
                shares,
                color=style.color,
                alpha=style.alpha,
                linewidth=2.6 if trial.kind in _LINES else 1.8,
                linestyle=_LINES.get(trial.kind, "-"),
                marker="" if trial.kind in _LINES else style.marker,
                markersize=6,
                markeredgecolor=THEME["surface"],
                label=short(style.name, 24),
            )
            canvas.tip(line, style.name)
        axes.set_ylim(-3, 108)
        axes.set_ylabel("zero weights, %")
        _layer_axis(axes, layers)
        _legend_above(axes)
        return canvas.svg(name, "share of zero weights in each layer, from input to output")


def multiplications(trials: Sequence[TrialSummary], styles: Sequence[TrialStyle], name: str) -> str | None:
    """Multiplications of each layer for one image: all of them behind those with a weight that is not zero."""
    layers = trials[0].layers if trials else []
    total = [_macs(layer, layer.elements) for layer in layers]
    if not any(total):
        return None
    sparse = [
        (trial, style) for trial, style in zip(trials, styles, strict=True) if any(la.zeros for la in trial.layers)
    ]
    with drawing():
        canvas = Canvas(_WIDTH, 3.5)
        axes = canvas.axes
        axes.bar(range(len(layers)), total, 0.86, color=THEME["dense"], alpha=0.25, label="dense")
        thick = 0.8 / max(1, len(sparse))
        for number, (trial, style) in enumerate(sparse):
            places = [index + (number - (len(sparse) - 1) / 2) * thick for index in range(len(trial.layers))]
            left = [_macs(layer, layer.elements - layer.zeros) for layer in trial.layers]
            label = f"{short(style.name, 24)}, nonzero"
            drawn = axes.bar(places, left, 0.9 * thick, color=style.color, alpha=style.alpha, label=label)
            for bar, layer, value in zip(drawn.patches, trial.layers, left, strict=True):
                canvas.tip(
                    bar, f"{layer.name}, {style.name}: {value:.4g} of {_macs(layer, layer.elements):.4g} million"
                )
        axes.set_ylabel("million MACs for one image")
        axes.margins(y=0.1)
        _layer_axis(axes, layers)
        _legend_above(axes)
        return canvas.svg(name, "multiplications of each layer, and those with nonzero weights")


def overlap_matrix(overlaps: Sequence[Overlap], name: str) -> str | None:
    """IoU of every pair of masks as a field of a triangle, above the IoU by chance; None for one pair, or too many."""
    names = list(dict.fromkeys(trial for pair in overlaps for trial in (pair.first, pair.second)))
    if not 3 <= len(names) <= _MOST_MASKS:
        return None
    with drawing():
        canvas = Canvas(_WIDTH, 0.8 + 0.8 * len(names))
        axes = canvas.axes
        axes.grid(visible=False)
        columns = 0
        for pair in overlaps:
            # The earlier name is the column, so that the lower left triangle is filled.
            column, row = sorted((names.index(pair.first), names.index(pair.second)))
            columns = max(columns, column + 1)
            _field(canvas, pair, column, row)
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(len(names) - 0.5, 0.5)
        labels = [_two_lines(name) for name in names]
        axes.set_xticks(range(columns), labels[:columns])
        axes.set_yticks(range(1, len(names)), labels[1:])
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
        axes.set_aspect("equal")
        return canvas.svg(name, "IoU of every pair of masks, and the IoU by chance")


def overlap_layers(overlaps: Sequence[Overlap], name: str) -> str | None:
    """IoU of masks layer by layer, each with the IoU by chance as a dotted line of its color."""
    # Random controls overlap by chance, which each pair's dotted line shows already.
    pairs = [pair for pair in overlaps if pair.layers and not pair.random] or [pair for pair in overlaps if pair.layers]
    shown = pairs[:MOST_PAIRS]
    if not shown:
        return None
    longest = max(shown, key=lambda pair: len(pair.layers)).layers
    places = {layer.name: position for position, layer in enumerate(longest)}
    with drawing():
        canvas = Canvas(_WIDTH, 3.7)
        axes = canvas.axes
        for number, pair in enumerate(shown):
            color = THEME[f"c{number + 1}"]
            rows = [layer for layer in pair.layers if layer.name in places]
            for line, values in (("-", [row.iou for row in rows]), (":", [row.by_chance for row in rows])):
                (drawn,) = axes.plot(
                    [places[row.name] for row in rows],
                    [float("nan") if value is None else value for value in values],
                    line,
                    color=color,
                    linewidth=1.8 if line == "-" else 1.4,
                    label=f"{short(pair.first, 28)} and {short(pair.second, 28)}" if line == "-" else None,
                )
                canvas.tip(drawn, f"{pair.first} and {pair.second}" + (", by chance" if line == ":" else ""))
        axes.plot([], [], ":", color=THEME["muted"], linewidth=1.4, label="by chance")
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("IoU of kept weights")
        axes.set_xlabel("layers from input to output")
        axes.set_xticks([])
        _legend_above(axes, 3)
        return canvas.svg(name, "IoU of masks in each layer, and by chance")


def _macs(layer: LayerSummary, weights: int) -> float:
    return (layer.positions or 0) * weights / 1e6


def _layer_axis(axes: "Axes", layers: Sequence[LayerSummary]) -> None:
    """Names of the parts under the layers, with a line between two parts."""
    spans = list(_spans(layers))
    axes.set_xlim(-0.6, len(layers) - 0.4)
    for start, _, _ in spans[1:]:
        axes.axvline(start - 0.5, color=THEME["line"], linewidth=1)
    inch = _WIDTH * 0.93 / len(layers)
    labels: list[str] = []
    for start, end, group in spans:
        # A name wider than its part goes one line down when its neighbor's is up.
        narrow = (end - start) * inch < 0.085 * len(group)
        labels.append(f"\n{group}" if narrow and labels and not labels[-1].startswith("\n") else group)
    axes.set_xticks([(start + end - 1) / 2 for start, end, _ in spans], labels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("layers from input to output, by part")


def _spans(layers: Sequence[LayerSummary]) -> Iterator[tuple[int, int, str]]:
    """First position, position after the last, and name of each run of layers of one part."""
    start = 0
    for position in range(1, len(layers) + 1):
        if position == len(layers) or layers[position].group != layers[start].group:
            yield start, position, layers[start].group
            start = position


def _field(canvas: Canvas, pair: Overlap, column: int, row: int) -> None:
    from matplotlib.patches import Rectangle

    axes = canvas.axes
    value = pair.iou or 0.0
    field = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=THEME["ticket"], alpha=0.08 + 0.72 * value, lw=0)
    axes.add_patch(field)
    canvas.tip(field, f"{pair.first} and {pair.second}")
    ink = THEME["surface"] if value > 0.6 else THEME["ink"]
    shown = number_text.MISSING if pair.iou is None else f"{pair.iou:.3f}"
    axes.text(column, row - 0.08, shown, ha="center", va="center", weight="bold", color=ink)
    if pair.by_chance is not None:
        text = f"chance {pair.by_chance:.3f}"
        axes.text(column, row + 0.24, text, ha="center", va="center", fontsize=7.5, color=ink)


def _two_lines(label: str) -> str:
    return "\n".join(short(part, 18) for part in label.split("/", 1))


def _legend_above(axes: "Axes", columns: int = 6) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        handlelength=2.2,
        handletextpad=0.6,
        columnspacing=1.6,
        borderaxespad=0.2,
    )
