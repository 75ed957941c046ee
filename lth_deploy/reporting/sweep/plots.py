"""The plots of a sweep: AP along the axis that was swept, or by row; and how early the masks of tickets are there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lth_deploy.reporting import number_text
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, short
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.reporting.sweep.groups import Group, Spread, groups_of, spread
from lth_deploy.run.sweep_record import Measured, SweepRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Name in the legend, marker, line.
_CONTROLS: dict[Measured, tuple[str, str, str]] = {
    "int8": ("INT8", "P", "-."),
    "random": ("random mask", "X", "--"),
    "reinit": ("new weights", "s", ":"),
}
_AXIS_NAMES = {
    "pruning.levels": "zeros asked for, % of prunable weights",
    "pruning.rewind": "rewind point",
    "pruning.early_masks.take": "optimizer step of the dense training at which the mask is taken",
}
_PALETTE = 8
_MOST_TICKS = 12
# Of the axis, between two series.
_APART = 0.006
_WIDTH = 8.4


def ap_of_sweep(sweep: SweepRecord) -> str | None:
    """AP of tickets and controls as one SVG element, with standard deviations over seeds; None without AP."""
    with drawing():
        canvas = _draw(sweep)
        return canvas.svg("sweep-ap", f"{_ap_name(sweep)} of the sweep {sweep.name}") if canvas else None


def ap_of_sweep_png(sweep: SweepRecord) -> bytes | None:
    """The same plot as the bytes of a PNG file."""
    with drawing():
        canvas = _draw(sweep)
        return canvas.png() if canvas else None


def early_masks(sweep: SweepRecord) -> str | None:
    """Overlap of the masks during the dense training with the last one, over steps; None where none were recorded."""
    curves = _early_curves(sweep)
    if not curves:
        return None
    with drawing():
        canvas = Canvas(_WIDTH, 3.4)
        axes = canvas.axes
        for number, (label, points) in enumerate(curves.items()):
            color = THEME[f"c{number % _PALETTE + 1}"]
            _errors(axes, list(points), list(points.values()), color, "o", "-", label)
        axes.set_ylim(0, 104)
        axes.set_xlabel("optimizer step of the dense training at which the mask is taken")
        axes.set_ylabel("overlap with the last mask, %")
        axes.legend(loc="lower right")
        return canvas.svg("sweep-early", "overlap of early masks with the last one")


def _early_curves(sweep: SweepRecord) -> dict[str, dict[float, Spread]]:
    """By level, the overlap at each step over seeds; rows that share a dense training have the same records."""
    found: dict[str, dict[float, dict[int, float]]] = {}
    for run in sweep.rows:
        for mask in run.early_masks:
            if mask.level is not None and mask.overlap is not None:
                curve = found.setdefault(f"{100 * mask.level:.3g} % zeros", {})
                curve.setdefault(float(mask.step), {})[run.seed] = mask.overlap
    return {
        label: {step: one for step in sorted(curve) if (one := spread(curve[step].values())) is not None}
        for label, curve in sorted(found.items())
    }


def _draw(sweep: SweepRecord) -> Canvas | None:
    groups = [group for group in groups_of(sweep) if group.first.shown]
    split = _split(groups)
    if split is None:
        return None
    if sweep.x is None or all(group.first.x is None for group in groups):
        canvas = Canvas(_WIDTH, 1.3 + 0.42 * len(groups))
        _by_row(canvas, groups, split)
        canvas.axes.set_xlabel(f"{_ap_name(sweep)} on {split}")
    else:
        canvas = Canvas(_WIDTH, 4.4)
        _along_axis(canvas, groups, split, percent=sweep.x == "pruning.levels")
        canvas.axes.set_xlabel(_AXIS_NAMES.get(sweep.x, sweep.x))
        canvas.axes.set_ylabel(f"{_ap_name(sweep)} on {split}")
    legend_below(canvas.axes)
    return canvas


def _split(groups: Sequence[Group]) -> str | None:
    """The split that AP is shown on: test where any ticket was measured there."""
    return next((one for one in ("test", "val") if any(group.of("ticket", f"{one}_ap") for group in groups)), None)


def _ap_name(sweep: SweepRecord) -> str:
    kinds = {run.metric for run in sweep.rows if run.shown and run.metric}
    return KIND_NAMES.get(kinds.pop(), "AP") if len(kinds) == 1 else "AP"


def _along_axis(canvas: Canvas, groups: Sequence[Group], split: str, percent: bool) -> None:
    scale = 100.0 if percent else 1.0
    series = list(dict.fromkeys(group.first.series for group in groups))
    places = sorted({scale * group.first.x for group in groups if group.first.x is not None})
    own_dense = _controls_differ(groups, split)
    if not own_dense:
        _dense(canvas, groups, split, scale)
    for number, name in enumerate(series):
        members = sorted((one for one in groups if one.first.series == name), key=lambda one: one.first.x or 0.0)
        is_only_series = len(series) == 1
        color = THEME["ticket"] if is_only_series else THEME[f"c{number % _PALETTE + 1}"]
        label = short("ticket" if is_only_series else name)
        # Side by side, so that one error bar does not hide another.
        shift = _APART * (number - (len(series) - 1) / 2) * (places[-1] - places[0])
        _curve(canvas, members, "ticket", split, (scale, shift), (color, "o", "-", label))
        if own_dense:
            _curve(canvas, members, "dense", split, (scale, shift), (color, "D", "-.", f"{label}, dense"))
        for kind, (what, marker, line) in _CONTROLS.items():
            look = (THEME[kind], marker, line, what) if is_only_series else (color, marker, line, f"{label}, {what}")
            _curve(canvas, members, kind, split, (scale, shift), look)
    if len(places) <= _MOST_TICKS:
        canvas.axes.set_xticks(places, [f"{place:.6g}" for place in places])
    canvas.axes.margins(0.06, 0.14)
    low, high = canvas.axes.get_ylim()
    low = max(low, 0.0)
    # An axis of less than two points would make noise look like an effect.
    canvas.axes.set_ylim(low, max(high, low + 2))


def _curve(
    canvas: Canvas,
    groups: Sequence[Group],
    what: Measured,
    split: str,
    to_axis: tuple[float, float],
    look: tuple[str, str, str, str],
) -> None:
    """One line through the groups of a series; `to_axis` is what their numbers are multiplied by and moved by."""
    scale, shift = to_axis
    points = [(one.first.x, one, one.of(what, f"{split}_ap")) for one in groups]
    present = [(scale * x + shift, one, found) for x, one, found in points if x is not None and found is not None]
    if not present:
        return
    _errors(canvas.axes, [x for x, _, _ in present], [found for _, _, found in present], *look)
    for x, group, found in present:
        _tip(canvas, x, 100 * found.mean, group, _CONTROLS[what][0] if what in _CONTROLS else what, found)


def _controls_differ(groups: Sequence[Group], split: str) -> bool:
    """Whether two series have other dense controls at one place of the axis, as where some train longer."""
    found: dict[tuple[float | None, int], set[float]] = {}
    for run in (run for group in groups for run in group.runs):
        value = getattr(run.dense, f"{split}_ap", None)
        if value is not None:
            found.setdefault((run.x, run.seed), set()).add(value)
    return any(len(values) > 1 for values in found.values())


def _dense(canvas: Canvas, groups: Sequence[Group], split: str, scale: float) -> None:
    """The dense controls: a line and a band where no row changes them, else their mean at each place of the axis."""
    # Rows that share a dense training count it once.
    by_place: dict[float, dict[int, float]] = {}
    for group in groups:
        for run in group.runs:
            value = getattr(run.dense, f"{split}_ap", None)
            if run.x is not None and value is not None:
                by_place.setdefault(scale * run.x, {})[run.seed] = value
    every = {(seed, value) for values in by_place.values() for seed, value in values.items()}
    same = len(every) == len({seed for seed, _ in every})
    found = spread(value for _, value in every)
    if found is None:
        return
    if not same:
        curve = {place: one for place in sorted(by_place) if (one := spread(by_place[place].values())) is not None}
        _errors(canvas.axes, list(curve), list(curve.values()), THEME["dense"], "D", "-.", "dense")
        return
    line = canvas.axes.axhline(100 * found.mean, color=THEME["dense"], linewidth=1.6, dashes=(5, 3), label="dense")
    canvas.tip(line, f"dense: {_text(found)}")
    if found.deviation:
        ends = (100 * (found.mean - found.deviation), 100 * (found.mean + found.deviation))
        canvas.axes.axhspan(*ends, color=THEME["dense"], alpha=0.12, linewidth=0)


def _by_row(canvas: Canvas, groups: Sequence[Group], split: str) -> None:
    """One line of the plot a row: the places of its ticket and controls along AP."""
    axes = canvas.axes
    looks: dict[Measured, tuple[str, str, str]] = {
        "dense": ("dense", "D", "dense"),
        **{kind: (name, marker, kind) for kind, (name, marker, _) in _CONTROLS.items()},
        "ticket": ("ticket", "o", "ticket"),
    }
    for what, (label, marker, color) in looks.items():
        found = [(place, group, group.of(what, f"{split}_ap")) for place, group in enumerate(groups)]
        present = [(place, group, one) for place, group, one in found if one is not None]
        if not present:
            continue
        size = 9 if what == "ticket" else 7
        means = [100 * one.mean for _, _, one in present]
        rows = [row for row, _, _ in present]
        wide = [100 * (one.deviation or 0.0) for _, _, one in present]
        axes.errorbar(means, rows, xerr=wide, fmt="none", ecolor=THEME[color], elinewidth=1.4, capsize=3)
        look: dict[str, Any] = {
            "color": THEME[color],
            "markeredgecolor": THEME["surface"],
            "markersize": size,
            "label": label,
        }
        axes.plot(means, rows, marker, **look)
        for place, group, one in present:
            _tip(canvas, 100 * one.mean, place, group, label, one)
    for place, group in enumerate(groups):
        if group.of("ticket", f"{split}_ap") is None:
            axes.annotate(
                group.state, (0.01, place), xycoords=("axes fraction", "data"), va="center", color=THEME["muted"]
            )
    axes.set_yticks(range(len(groups)), [short(group.label, 44) for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(axis="x", color=THEME["line"], linewidth=1)
    axes.margins(x=0.08)


def _errors(
    axes: "Axes", x: Sequence[float], found: Sequence[Spread], color: str, marker: str, line: str, label: str
) -> None:
    means, high = [100 * one.mean for one in found], [100 * (one.deviation or 0.0) for one in found]
    axes.errorbar(x, means, yerr=high, fmt="none", ecolor=color, elinewidth=1.4, capsize=3)
    look: dict[str, Any] = {
        "color": color,
        "markeredgecolor": THEME["surface"],
        "markersize": 9 if marker == "X" else 7,
    }
    axes.plot(x, means, marker=marker, linestyle=line, linewidth=2, label=label, **look)


def _tip(canvas: Canvas, x: float, y: float, group: Group, what: str, found: Spread) -> None:
    """An invisible, larger target over a marker."""
    (spot,) = canvas.axes.plot([x], [y], "o", markersize=14, alpha=0, color=THEME["ink"])
    canvas.tip(spot, f"{group.label}, {what}: {_text(found)}")


def _text(found: Spread) -> str:
    if found.deviation is None:
        return number_text.ap(found.mean)
    return f"{number_text.ap(found.mean)} ± {number_text.ap(found.deviation)} over {found.count} seeds"
