"""Plots of an analysis about AP: by object size, by class frequency, by difficulty, and errors by type."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lth_deploy.reporting import number_text
from lth_deploy.reporting.analysis.schema import Change, ClassInfo, KindAnalysis, SizeRange
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, short
from lth_deploy.reporting.plots import KIND_NAMES
from lth_deploy.run.summary import TrialSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"dense": "s", "ticket": "o", "random": "X", "reinit": "D", "int8": "P"}
_MOST_FIGURES = 20
"""Bars that still have their figure above them."""

_MOST_NAMES = 12
"""Classes that are all named in a plot; of more, those that change most."""


@dataclass(frozen=True)
class TrialStyle:
    """How one trial looks in every plot."""

    name: str
    color: str
    alpha: float
    marker: str


def styles_of(trials: Sequence[TrialSummary]) -> list[TrialStyle]:
    """Colors follow the kind of a trial; of one kind, the last (the sparsest ticket) is the strongest."""
    found = []
    for trial in trials:
        alike = [other.name for other in trials if other.kind == trial.kind]
        rank = (alike.index(trial.name) + 1) / len(alike)
        kind = trial.kind.removesuffix("_control")
        color = THEME[kind if kind in _MARKERS else "muted"]
        found.append(TrialStyle(trial.name, color, 0.3 + 0.7 * rank, _MARKERS.get(kind, "^")))
    return found


def sizes(kind: KindAnalysis, styles: Sequence[TrialStyle], name: str) -> dict[str, str]:
    """AP by COCO's object sizes, and by sizes relative to the image: two plots, or those that there are."""
    unit = KIND_NAMES.get(kind.kind, kind.kind)
    absolute = [_pixels(size_range) for size_range in kind.coco_sizes]
    relative = [_share(size_range) for size_range in kind.relative_sizes]
    rows = [kind.of(style.name) for style in styles]
    plots = {
        f"{name}-coco": bars(
            f"{name}-coco",
            f"{unit} by COCO's object sizes",
            absolute,
            styles,
            [_hundredfold(row.coco_sizes if row else []) for row in rows],
            unit,
            "side of the object (√area), pixels",
        ),
        f"{name}-relative": bars(
            f"{name}-relative",
            f"{unit} by object size relative to the image",
            relative,
            styles,
            [_hundredfold(row.relative_sizes if row else []) for row in rows],
            unit,
            "side of the object (√area) in % of the image's",
        ),
    }
    return {key: plot for key, plot in plots.items() if plot}


def frequency(kind: KindAnalysis, classes: Sequence[ClassInfo], styles: Sequence[TrialStyle], name: str) -> str | None:
    """AP of each class over the number of its objects in training."""
    seen = [position for position, entry in enumerate(classes) if entry.train_objects and entry.objects]
    if not seen:
        return None
    unit = KIND_NAMES.get(kind.kind, kind.kind)
    with drawing():
        canvas = Canvas(5.6, 3.7)
        axes = canvas.axes
        axes.set_xscale("log")
        for style in styles:
            _dots(canvas, style, classes, seen, [classes[position].train_objects for position in seen], kind, False)
        for position in _named(kind, seen):
            tops = [100 * value for row in kind.trials if (value := row.classes[position]) is not None]
            _name(axes, classes[position].name, classes[position].train_objects, tops)
        axes.margins(x=0.14, y=0.16)
        _plain_log(axes, [classes[position].train_objects for position in seen])
        axes.set_xlabel("objects of the class in training (log scale)")
        axes.set_ylabel(f"{unit} of the class")
        legend_below(axes)
        return canvas.svg(name, f"{unit} of each class against its objects in training")


def difficulty(kind: KindAnalysis, classes: Sequence[ClassInfo], styles: Sequence[TrialStyle], name: str) -> str | None:
    """Change of each class against the control's AP, with intervals: left are the hard classes."""
    control = kind.of(kind.control or "")
    others = [style for style in styles if (row := kind.of(style.name)) and any(row.changes)]
    if control is None or not others:
        return None
    seen = [position for position, value in enumerate(control.classes) if value is not None]
    unit = KIND_NAMES.get(kind.kind, kind.kind)
    places = [100 * (control.classes[position] or 0) for position in seen]
    spread = max(max(places) - min(places), 1.0)
    with drawing():
        canvas = Canvas(5.6, 3.7)
        axes = canvas.axes
        axes.axhline(0, color=THEME["dense"], linewidth=1.6, dashes=(5, 3), label=short(kind.control or "", 24))
        for number, style in enumerate(others):
            # Side by side, or their intervals would hide each other.
            offset = (number - (len(others) - 1) / 2) * spread / 60
            _dots(canvas, style, classes, seen, [place + offset for place in places], kind, True)
        for position in _named(kind, seen):
            changes = [row.changes[position] for row in kind.trials if row.changes]
            tops = [_top(change) for change in changes if change]
            _name(axes, classes[position].name, 100 * (control.classes[position] or 0), tops)
        axes.margins(x=0.14, y=0.16)
        axes.set_xlabel(f"{unit} of the class in {short(kind.control or '', 24)}: hard to easy")
        axes.set_ylabel("change, points")
        legend_below(axes)
        return canvas.svg(name, f"change of each class's {unit} against its {unit} in the control")


def error_costs(kind: KindAnalysis, styles: Sequence[TrialStyle], name: str) -> dict[str, str]:
    """What each type of error costs in AP50, and how often it occurs: two plots, none without errors."""
    rows = [row.errors if (row := kind.of(style.name)) else None for style in styles]
    if not any(rows):
        return {}
    types = list(next(row for row in rows if row).types)
    everything = [*types, "false positives", "false negatives"]
    labels = [error.replace("false ", "all false\n") for error in everything]
    costs = [
        [*(row.types[error] for error in types), row.false_positives, row.false_negatives] if row else []
        for row in rows
    ]
    gains = [_hundredfold([error.ap50_gain for error in row]) for row in costs]
    counts = [[float(error.count) for error in row] for row in costs]
    cost, count = f"{name}-cost", f"{name}-count"
    plots = {
        cost: bars(cost, "AP50 lost to each type of error", labels, styles, gains, "AP50 lost, points", "", 11.4),
        count: bars(count, "number of errors of each type", labels, styles, counts, "errors", "", 11.4, decimals=0),
    }
    return {key: plot for key, plot in plots.items() if plot}


def bars(
    name: str,
    title: str,
    groups: Sequence[str],
    styles: Sequence[TrialStyle],
    values: Sequence[Sequence[float | None]],
    y_label: str,
    x_label: str,
    width: float = 5.6,
    *,
    decimals: int = 1,
) -> str | None:
    """Groups of bars, one bar a series; None where there is no value at all."""
    if not any(value is not None for row in values for value in row):
        return None
    with drawing():
        canvas = Canvas(width, 3.7)
        axes = canvas.axes
        thick = 0.8 / max(1, len(styles))
        labeled = len(groups) * len(styles) <= _MOST_FIGURES * width / 5.6
        for number, (style, row) in enumerate(zip(styles, values, strict=True)):
            places = [group + (number - (len(styles) - 1) / 2) * thick for group in range(len(row))]
            heights = [0.0 if value is None else value for value in row]
            drawn = axes.bar(
                places, heights, 0.9 * thick, color=style.color, alpha=style.alpha, label=short(style.name, 24)
            )
            for bar, place, value, group in zip(drawn.patches, places, row, groups, strict=False):
                figure = number_text.MISSING if value is None else f"{value:.{decimals}f}"
                canvas.tip(bar, f"{style.name}, {' '.join(group.split())}: {figure}")
                if labeled:
                    _figure(axes, place, value, figure)
        axes.set_xticks(range(len(groups)), [short(group, 60) for group in groups])
        axes.tick_params(axis="x", length=0)
        axes.axhline(0, color=THEME["muted"], linewidth=0.8)
        axes.margins(y=0.12)
        axes.set_ylabel(y_label)
        axes.set_xlabel(x_label)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(len(styles), 4 if width < 8 else 8),
            handlelength=1,
            handletextpad=0.5,
            columnspacing=1.4,
            borderaxespad=0.2,
        )
        return canvas.svg(name, title)


def _figure(axes: "Axes", place: float, value: float | None, figure: str) -> None:
    below = value is not None and value < 0
    axes.annotate(
        figure.replace("-", number_text.MINUS),
        (place, value or 0),
        (0, -3 if below else 2),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        fontsize=7,
        color=THEME["muted"],
    )


def _dots(
    canvas: Canvas,
    style: TrialStyle,
    classes: Sequence[ClassInfo],
    seen: Sequence[int],
    places: Sequence[float],
    kind: KindAnalysis,
    as_change: bool,
) -> None:
    """One dot a class: its AP, or its change with an interval."""
    row = kind.of(style.name)
    label: str | None = short(style.name, 24)
    look: dict[str, Any] = {"color": style.color, "alpha": style.alpha}
    for position, place in zip(seen, places, strict=True):
        change = row.changes[position] if row and as_change and row.changes else None
        value = row.classes[position] if row and not as_change else None
        height = change.value if change else value
        if height is None:
            continue
        if change and change.low is not None and change.high is not None:
            canvas.axes.vlines(place, 100 * change.low, 100 * change.high, linewidth=1.2, **{**look, "alpha": 0.5})
        (dot,) = canvas.axes.plot(
            [place], [100 * height], style.marker, markersize=7, markeredgecolor=THEME["surface"], label=label, **look
        )
        label = None
        shown = number_text.points(height) if as_change else number_text.ap(height)
        canvas.tip(dot, f"{classes[position].name}, {style.name}: {shown}")


def _named(kind: KindAnalysis, seen: Sequence[int]) -> list[int]:
    """The classes whose names are written: all of a few, else those that change most."""
    if len(seen) <= _MOST_NAMES:
        return list(seen)

    def largest(position: int) -> float:
        changes = [row.changes[position] for row in kind.trials if row.changes]
        return max((abs(change.value) for change in changes if change), default=0.0)

    return sorted(seen, key=largest, reverse=True)[: _MOST_NAMES // 2]


def _name(axes: "Axes", text: str, place: float, tops: Sequence[float]) -> None:
    """The name of a class above the highest of its dots."""
    if not tops:
        return
    axes.annotate(
        short(text, 18),
        (place, max(tops)),
        (0, 8),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8.5,
    )


def _top(change: Change) -> float:
    return 100 * (change.value if change.high is None else max(change.high, change.value))


def _plain_log(axes: "Axes", values: Sequence[int]) -> None:
    """Ticks at 1, 2, 5, 10, ... as whole numbers; a logarithmic axis writes powers otherwise."""
    ticks = [factor * 10**power for power in range(9) for factor in (1, 2, 5)]
    low, high = min(values) / 1.6, max(values) * 1.6
    wide = high / low > 300
    inside = [tick for tick in ticks if low <= tick <= high and (not wide or str(tick)[0] == "1")]
    axes.set_xticks(inside, [number_text.count(tick) for tick in inside])
    axes.minorticks_off()


def _hundredfold(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else 100 * value for value in values]


def _pixels(size_range: SizeRange) -> str:
    low = f"{size_range.low:.0f}"
    text = (
        f"≥ {low}"
        if size_range.high is None
        else f"< {size_range.high:.0f}"
        if size_range.low == 0
        else f"{low} to {size_range.high:.0f}"
    )
    return f"{size_range.name}, {text}\n{_objects(size_range)}"


def _share(size_range: SizeRange) -> str:
    low = f"{100 * size_range.low:.3g}"
    high = None if size_range.high is None else f"{100 * size_range.high:.3g}"
    text = f"≥ {low}" if high is None else f"< {high}" if size_range.low == 0 else f"{low} to {high}"
    return f"{text}\n{_objects(size_range)}"


def _objects(size_range: SizeRange) -> str:
    return f"{number_text.count(size_range.objects)} object{'' if size_range.objects == 1 else 's'}"
