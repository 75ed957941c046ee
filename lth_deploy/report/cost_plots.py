"""Plots of what a ticket costs: AP against latency and bytes, zeros per layer, and where the bytes go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lth_deploy.report.svg import THEME, Canvas, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX*"
_LONGEST_LABEL = 30
_MOST_LABELS = 14


@dataclass(frozen=True)
class Point:
    """One artifact: `x` in the unit of the axis, smaller is better; `ap` as a fraction."""

    label: str
    series: str
    x: float
    ap: float
    tip: str


@dataclass(frozen=True)
class Bar:
    """One layer: its width on the axis (weights or multiplications), and the share of it that is zero."""

    label: str
    group: str
    width: float
    zeros: float


@dataclass(frozen=True)
class Stack:
    """One file: bytes by what they are spent on."""

    label: str
    parts: dict[str, float]


def pareto(points: Sequence[Point], name: str, x_label: str) -> str | None:
    """AP against a cost, with the front of artifacts that nothing beats in both; None without points."""
    if not points:
        return None
    with drawing():
        canvas = Canvas(5.6, 3.7)
        axes = canvas.axes[0]
        front = _front(points)
        xs = [point.x for point in front]
        axes.step(
            xs,
            [100 * point.ap for point in front],
            where="post",
            color=THEME["muted"],
            linewidth=1,
            alpha=0.7,
        )
        series = list(dict.fromkeys(point.series for point in points))
        for point in points:
            number = series.index(point.series)
            (marker,) = axes.plot(
                [point.x],
                [100 * point.ap],
                _MARKERS[number % len(_MARKERS)],
                color=THEME[f"c{number % 8 + 1}"],
                markeredgecolor=THEME["surface"],
                markersize=9,
                label=_short(point.series) if point is _first_of(points, point.series) else None,
            )
            canvas.tip(marker, point.tip)
        axes.margins(0.16, 0.2)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=THEME["line"], linewidth=1)
        axes.set_xlabel(x_label)
        axes.set_ylabel("AP")
        _write_labels(canvas, front if len(points) > _MOST_LABELS else points)
        if len(series) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handletextpad=0.2)
        return canvas.svg(name, f"AP against {x_label}")


def layers(bars: Sequence[Bar], name: str, x_label: str) -> str | None:
    """Zeros per layer: each bar as wide as the layer's share of the whole, so that area counts zeros."""
    total = sum(bar.width for bar in bars)
    if total <= 0:
        return None
    with drawing():
        canvas = Canvas(5.6, 3.3)
        axes = canvas.axes[0]
        groups = list(dict.fromkeys(bar.group for bar in bars))
        left, named = 0.0, set()
        for bar in bars:
            width = 100 * bar.width / total
            color = THEME[f"c{groups.index(bar.group) % 8 + 1}"]
            frame: dict[str, Any] = {
                "align": "edge",
                "edgecolor": THEME["surface"],
                "linewidth": min(0.6, width / 3),
            }
            axes.bar(left, 100, width, color=color, alpha=0.16, **frame)
            label = None if bar.group in named else _short(bar.group)
            container = axes.bar(left, 100 * bar.zeros, width, color=color, label=label, **frame)
            canvas.tip(
                container.patches[0], f"{bar.label}: {100 * bar.zeros:.1f} % zero, {width:.1f} % of all"
            )
            named.add(bar.group)
            left += width
        whole = 100 * sum(bar.width * bar.zeros for bar in bars) / total
        axes.axhline(whole, color=THEME["ink"], linewidth=1.2, dashes=(4, 3))
        axes.annotate(
            f"{whole:.1f} % in all",
            (100, whole),
            (-4, 4),
            textcoords="offset points",
            ha="right",
            weight="bold",
        )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 104)
        axes.set_xlabel(x_label)
        axes.set_ylabel("zero, %")
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, handlelength=1, handletextpad=0.4
        )
        return canvas.svg(name, f"share of zeros per layer; {x_label}")


def sizes(stacks: Sequence[Stack]) -> str | None:
    """Bytes of each file as one bar, split by what they are spent on; None without files."""
    if not stacks:
        return None
    colors = {
        "values": "c1",
        "positions": "c2",
        "dense tensors": "c3",
        "graph and metadata": "c4",
        "file": "c8",
    }
    with drawing():
        canvas = Canvas(11.4, 0.75 + 0.36 * len(stacks))
        axes = canvas.axes[0]
        axes.grid(visible=False)
        axes.grid(axis="x", color=THEME["line"], linewidth=1)
        widest = max(sum(stack.parts.values()) for stack in stacks) / 1e6
        for part, color in colors.items():
            if not any(stack.parts.get(part) for stack in stacks):
                continue
            lefts = [_before(stack, part, list(colors)) / 1e6 for stack in stacks]
            widths = [stack.parts.get(part, 0) / 1e6 for stack in stacks]
            bars = axes.barh(range(len(stacks)), widths, 0.62, lefts, color=THEME[color], label=part)
            for bar, stack, width in zip(bars.patches, stacks, widths, strict=True):
                canvas.tip(bar, f"{stack.label}: {part} {width:.3f} MB")
        for row, stack in enumerate(stacks):
            whole = sum(stack.parts.values()) / 1e6
            axes.annotate(f"{whole:.3g} MB", (whole, row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(stacks)), [_short(stack.label, 46) for stack in stacks])
        axes.invert_yaxis()
        axes.set_xlim(0, widest * 1.1 or 1)
        axes.set_xlabel("MB")
        axes.legend(loc="lower right", handlelength=1, handletextpad=0.4)
        return canvas.svg("sizes", "bytes of each file by what they are spent on")


def _before(stack: Stack, part: str, order: Sequence[str]) -> float:
    return sum(stack.parts.get(earlier, 0) for earlier in order[: order.index(part)])


def _first_of(points: Sequence[Point], series: str) -> Point:
    return next(point for point in points if point.series == series)


def _front(points: Sequence[Point]) -> list[Point]:
    """The points with a higher AP than everything at most as costly, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.ap)):
        if not best or point.ap > best[-1].ap:
            best.append(point)
    return best


def _write_labels(canvas: Canvas, points: Sequence[Point]) -> None:
    """Name each point at the first of eight sides where the name hits nothing; else its tip has to do."""
    axes = canvas.axes[0]
    canvas.figure.draw_without_rendering()
    markers = [axes.transData.transform((point.x, 100 * point.ap)) for point in points]
    taken: list[Any] = []
    for point, (x, y) in zip(points, markers, strict=True):
        others = [spot for spot in markers if abs(spot[0] - x) + abs(spot[1] - y) > 1]
        for text in _candidates(axes, point):
            box = text.get_window_extent().padded(2)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 8
            inside = inside and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1 + 4
            if inside and not any(box.overlaps(other) for other in taken) and not _hits(box, others):
                taken.append(box)
                break
            text.remove()


def _candidates(axes: "Axes", point: Point) -> Any:
    sides = ((9, 0, "left"), (-9, 0, "right"), (0, 11, "center"), (0, -11, "center"))
    corners = ((8, 9, "left"), (8, -9, "left"), (-8, 9, "right"), (-8, -9, "right"))
    for dx, dy, align in sides + corners:
        yield axes.annotate(
            _short(point.label),
            (point.x, 100 * point.ap),
            (dx, dy),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=9,
        )


def _hits(box: Any, spots: Sequence[Any]) -> bool:
    padded = box.padded(4)
    return any(padded.contains(x, y) for x, y in spots)


def _short(text: str, longest: int = _LONGEST_LABEL) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
