"""The plots of the report, each as one SVG element (see `svg`): AP against sparsity, and training losses."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lth_deploy.reporting import number_text
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing
from lth_deploy.run.summary import RunSummary, TrialSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIND_NAMES = {
    "bbox": "box AP",
    "segm": "mask AP",
    "keypoints": "keypoint AP",
    "top1": "top-1 accuracy",
    "score": "score",
}
SERIES = {
    "ticket": ("Ticket", "o", "-"),
    "random": ("Random mask, same layers", "X", "--"),
    "reinit": ("Same mask, new weights", "s", ":"),
    "int8": ("Quantized, as INT8 computes", "D", "-."),
}
_NAMES = {"dense": "Dense", **{kind: name for kind, (name, _, _) in SERIES.items()}}
# Larger shares of zeros would stretch the logarithmic axis without end.
_SPARSEST = 0.9999
_SMOOTHING = 0.9


def ap_against_sparsity(run: RunSummary, split: str, kind: str) -> str | None:
    """AP of tickets and controls over the share of zeros, with the dense control as a line.

    The axis is logarithmic in the weights that remain, as pruning rounds are. Returns None when `split`
    ('val' or 'test') has no AP of this kind.
    """
    if all(trial.ap(split, kind) is None for trial in run.trials):
        return None
    with drawing():
        canvas = Canvas(5.6, 3.5)
        axes = canvas.axes
        _dense_line(canvas, run, split, kind)
        for series in SERIES:
            _curve(canvas, run, series, split, kind)
        _sparsity_axis(axes, run.trials)
        low, high = axes.get_ylim()
        low = max(low, 0.0)
        # An axis of less than two points would make noise look like an effect.
        axes.set_ylim(low, max(high, low + 2))
        _mark_winner(axes, run, split, kind)
        axes.set_ylabel(f"{KIND_NAMES.get(kind, kind)} on {split}")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left", handlelength=2.4)
        name = f"ap-{split}-{kind if kind.isalnum() else 'other'}"
        return canvas.svg(name, f"{KIND_NAMES.get(kind, kind)} on {split} against the share of zero weights")


def losses(run: RunSummary, name: str = "losses") -> str | None:
    """Training loss of every trial over its steps, smoothed; None when no trial kept its losses."""
    kept = [(trial, smooth(trial.losses)) for trial in run.trials]
    kept = [(trial, curve) for trial, curve in kept if len(curve) > 1]
    if not kept:
        return None
    with drawing():
        canvas = Canvas(11.4, 3.0)
        axes = canvas.axes
        for trial, curve in kept:
            steps, values = zip(*curve, strict=True)
            first = next(other for other, _ in kept if other.kind == trial.kind)
            (line,) = axes.plot(
                steps,
                values,
                color=THEME.get(trial.kind, THEME["muted"]),
                alpha=0.4 + 0.6 * trial.zeros if trial.zeros else 1.0,
                linewidth=1.6,
                label=_NAMES.get(trial.kind, trial.kind) if trial is first else None,
            )
            canvas.tip(line, trial.name)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", handlelength=2)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("training loss, smoothed")
        return canvas.svg(name, "training loss of every trial")


def _curve(canvas: Canvas, run: RunSummary, series: str, split: str, kind: str) -> None:
    """One line through the trials of a kind; the tickets' line starts at the dense control, their level 0."""
    label, marker, line = SERIES[series]
    trials = [trial for trial in run.of_kind(series) if trial.ap(split, kind) is not None]
    if not trials:
        return
    if series == "ticket" and run.control and run.control.ap(split, kind) is not None:
        trials.insert(0, run.control)
    canvas.axes.plot(
        [_depth(trial) for trial in trials],
        [100 * (trial.ap(split, kind) or 0) for trial in trials],
        color=THEME[series],
        label=label,
        linewidth=2,
        linestyle=line,
        marker=marker,
        markersize=9 if marker == "X" else 7,
        markeredgecolor=THEME["surface"],
    )
    for trial in trials:
        _tip(canvas, trial, split, kind)


def _dense_line(canvas: Canvas, run: RunSummary, split: str, kind: str) -> None:
    dense = run.control.ap(split, kind) if run.control else None
    if dense is None:
        return
    axes = canvas.axes
    line = axes.axhline(100 * dense, color=THEME["dense"], linewidth=1.6, dashes=(5, 3), label="Dense control")
    canvas.tip(line, f"dense: {number_text.ap(dense)}")
    # The tolerance is a rule about val and the kind that is selected by; a band elsewhere would mislead.
    if run.tolerance and split == "val" and kind == run.main_kind:
        low = 100 * (dense - run.tolerance)
        axes.axhspan(low, 100 * dense, color=THEME["dense"], alpha=0.14, linewidth=0, label="Tolerance")


def _tip(canvas: Canvas, trial: TrialSummary, split: str, kind: str) -> None:
    """An invisible, larger target over the marker."""
    (spot,) = canvas.axes.plot(
        [_depth(trial)], [100 * (trial.ap(split, kind) or 0)], "o", markersize=14, alpha=0, color=THEME["ink"]
    )
    text = f"{trial.name}: {number_text.ap(trial.ap(split, kind))} at {number_text.percent(trial.zeros)} zeros"
    canvas.tip(spot, text)


def _mark_winner(axes: "Axes", run: RunSummary, split: str, kind: str) -> None:
    trial = run.trial(run.winner.trial) if run.winner else None
    found = trial.ap(split, kind) if trial else None
    if trial is None or found is None or kind != run.main_kind:
        return
    place = (_depth(trial), 100 * found)
    low, high = axes.get_ylim()
    axes.plot(*place, "o", markersize=13, markerfacecolor="none", markeredgecolor=THEME["ticket"], mew=1.5)
    axes.annotate(
        f"winner {number_text.ap(found)}",
        place,
        xytext=(0, -19 if 100 * found > low + (high - low) / 6 else 12),
        textcoords="offset points",
        ha="center",
        color=THEME["ticket"],
        weight="bold",
    )


def _depth(trial: TrialSummary) -> float:
    """Place on the axis: halvings of the weights that remain."""
    return -math.log2(1 - min(trial.zeros, _SPARSEST))


def _sparsity_axis(axes: "Axes", trials: Sequence[TrialSummary]) -> None:
    deepest = max([_depth(trial) for trial in trials] + [1.0])
    shown: list[tuple[float, str]] = []
    for share in sorted({round(trial.zeros, 3) for trial in trials} | {0.0}):
        place = -math.log2(1 - min(share, _SPARSEST))
        if not shown or place - shown[-1][0] > deepest / 14:
            shown.append((place, f"{share * 100:.3g} %"))
    axes.set_xticks([place for place, _ in shown], [text for _, text in shown])
    axes.set_xlim(-deepest * 0.04, deepest * 1.08)
    axes.margins(y=0.16)
    axes.set_xlabel("zeros among prunable weights (log scale of what remains)")


def smooth(points: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """Exponential moving average, at most about 400 points."""
    every = max(1, len(points) // 400)
    curve: list[tuple[int, float]] = []
    average: float | None = None
    for index, (step, value) in enumerate(points):
        if value is None:
            continue
        average = value if average is None else _SMOOTHING * average + (1 - _SMOOTHING) * value
        if index % every == 0:
            curve.append((step, average))
    return curve
