"""Plots of AP against a cost, latency or bytes, with the Pareto front."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_SHAPES = "osD^vPX*"
_MOST_LABELS = 14
# Markers closer than this, in pixels of the layout, cannot all be kept free of their labels.
_MARKER = 12.0
# Offsets in points and the alignment of a label, the best place first.
_PLACES = (
    *((0, 12, "center"), (0, -12, "center"), (9, 0, "left"), (-9, 0, "right")),
    *((8, 9, "left"), (8, -9, "left"), (-8, 9, "right"), (-8, -9, "right")),
    *((0, 24, "center"), (0, -24, "center"), (0, 36, "center"), (0, -36, "center")),
)


@dataclass(frozen=True)
class Point:
    """One artifact: `x` in the unit of the axis, smaller is better; `ap` as a fraction."""

    label: str
    series: str
    x: float
    ap: float
    tip: str


def pareto(points: Sequence[Point], name: str, x_label: str) -> str | None:
    """The plot as an SVG element called `name`; None without points."""
    if not points:
        return None
    with drawing():
        canvas = Canvas(5.6, 3.7)
        axes = canvas.axes
        best = front(points)
        heights = [100 * point.ap for point in best]
        axes.step([point.x for point in best], heights, where="post", color=THEME["muted"], linewidth=1)
        for number, series in enumerate(dict.fromkeys(point.series for point in points)):
            _markers(canvas, [point for point in points if point.series == series], number)
        axes.margins(0.16, 0.2)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=THEME["line"], linewidth=1)
        axes.set_xlabel(x_label)
        axes.set_ylabel("AP")
        _write_labels(canvas, best[:_MOST_LABELS] if len(points) > _MOST_LABELS else points, best)
        if len({point.series for point in points}) > 1:
            legend_below(axes)
        return canvas.svg(name, f"AP against {x_label}")


def front(points: Sequence[Point]) -> list[Point]:
    """The points with a higher AP than everything at most as costly, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.ap)):
        if not best or point.ap > best[-1].ap:
            best.append(point)
    return best


def _markers(canvas: Canvas, points: Sequence[Point], number: int) -> None:
    """The points of one series; each is its own artist, because each has its own tip."""
    for index, point in enumerate(points):
        (marker,) = canvas.axes.plot(
            [point.x],
            [100 * point.ap],
            _SHAPES[number % len(_SHAPES)],
            color=THEME[f"c{number % 8 + 1}"],
            markeredgecolor=THEME["surface"],
            markersize=9,
            label=None if index else short(point.series),
        )
        canvas.tip(marker, point.tip)


def _write_labels(canvas: Canvas, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Name each point where the name hits nothing, at worst the line of the front; else its tip has to do."""
    axes = canvas.axes
    canvas.figure.draw_without_rendering()
    spots = [axes.transData.transform((point.x, 100 * point.ap)) for point in points]
    line = _steps([axes.transData.transform((point.x, 100 * point.ap)) for point in best])
    taken: list[Any] = []
    for point, (x, y) in zip(points, spots, strict=True):
        others = [spot for spot in spots if abs(spot[0] - x) + abs(spot[1] - y) > _MARKER]
        text = _label(axes, point, [*taken, *line], others)
        if text is None and (text := _label(axes, point, taken, others)) is not None:
            text.set_bbox({"facecolor": THEME["surface"], "edgecolor": "none", "pad": 1})
        taken += [] if text is None else [text.get_window_extent().padded(2)]


def _label(axes: "Axes", point: Point, taken: Sequence[Any], spots: Sequence[Any]) -> "Annotation | None":
    """A name at the first place inside the axes that hits none of these boxes and spots; None without one."""
    for text in _candidates(axes, point):
        box = text.get_window_extent().padded(2)
        inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 8
        inside = inside and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1 + 4
        free = not any(box.overlaps(other) for other in taken)
        if inside and free and not any(box.padded(4).contains(*spot) for spot in spots):
            return text
        text.remove()
    return None


def _steps(spots: Sequence[Any]) -> list[Any]:
    """Boxes around the line that joins the spots, level and then upright."""
    from matplotlib.transforms import Bbox

    found = []
    for (x, y), (next_x, next_y) in pairwise(spots):
        found += [Bbox.from_extents(x, y, next_x, y), Bbox.from_extents(next_x, y, next_x, next_y)]
    return [box.padded(1) for box in found]


def _candidates(axes: "Axes", point: Point) -> "Iterator[Annotation]":
    for dx, dy, align in _PLACES:
        yield axes.annotate(
            short(point.label),
            (point.x, 100 * point.ap),
            (dx, dy),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=9,
        )
