"""Plots of what a ticket saves: zeros per layer, and where the bytes of each file go."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PART_COLORS = {
    "values": "c1",
    "positions": "c2",
    "dense tensors": "c3",
    "graph and metadata": "c4",
    "file": "c8",
}


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

    @property
    def whole(self) -> float:
        """All bytes."""
        return sum(self.parts.values())


def layers(bars: Sequence[Bar], name: str, x_label: str) -> str | None:
    """Zeros per layer: each bar as wide as the layer's share of the whole, so that area counts zeros."""
    total = sum(bar.width for bar in bars)
    if total <= 0:
        return None
    with drawing():
        canvas = Canvas(5.6, 3.3)
        axes, left = canvas.axes, 0.0
        for bar in bars:
            width = 100 * bar.width / total
            _layer(canvas, bar, left, width)
            left += width
        _legend_of_groups(axes, bars)
        whole = 100 * sum(bar.width * bar.zeros for bar in bars) / total
        axes.axhline(whole, color=THEME["ink"], linewidth=1.2, dashes=(4, 3))
        axes.annotate(
            f"{whole:.1f} % in all",
            (100, whole),
            (-5, 6),
            textcoords="offset points",
            ha="right",
            weight="bold",
            bbox={"facecolor": THEME["surface"], "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 104)
        axes.set_xlabel(x_label)
        axes.set_ylabel("zero, %")
        return canvas.svg(name, f"share of zeros per layer; {x_label}")


def sizes(stacks: Sequence[Stack], *, wide: bool = True, name: str = "sizes") -> str | None:
    """Bytes of each file as one bar, split by what they are spent on; None without files.

    wide: over the whole page, else as large as the plots of AP.
    """
    if not stacks:
        return None
    with drawing():
        width, least = (11.4, 1.2) if wide else (5.6, 3.7)
        canvas = Canvas(width, max(least, 0.9 + 0.36 * len(stacks)))
        axes = canvas.axes
        axes.grid(visible=False)
        axes.grid(axis="x", color=THEME["line"], linewidth=1)
        for part in _PART_COLORS:
            if any(stack.parts.get(part) for stack in stacks):
                _part(canvas, stacks, part)
        for row, stack in enumerate(stacks):
            end = stack.whole / 1e6
            axes.annotate(f"{end:.3g} MB", (end, row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(stacks)), [short(stack.label, 46 if wide else 24) for stack in stacks])
        axes.invert_yaxis()
        axes.set_xlim(0, max(stack.whole for stack in stacks) / 1e6 * (1.1 if wide else 1.22) or 1)
        axes.set_xlabel("MB")
        if len(axes.containers) > 1:
            columns = len(axes.containers) if wide else 2
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, handlelength=1)
        return canvas.svg(name, "bytes of each file by what they are spent on")


def _layer(canvas: Canvas, bar: Bar, left: float, width: float) -> None:
    # Thin layers would vanish under a frame of constant width.
    frame: dict[str, Any] = {
        "align": "edge",
        "edgecolor": THEME["surface"],
        "linewidth": min(0.6, width / 3),
        "color": THEME[_color(bar.group)],
    }
    canvas.axes.bar(left, 100, width, alpha=0.16, **frame)
    filled = canvas.axes.bar(left, 100 * bar.zeros, width, **frame)
    tip = f"{bar.label}: {100 * bar.zeros:.1f} % zero, {width:.1f} % of all"
    canvas.tip(filled.patches[0], tip)


def _legend_of_groups(axes: "Axes", bars: Sequence[Bar]) -> None:
    for group in dict.fromkeys(bar.group for bar in bars):
        axes.bar(0, 0, 0, color=THEME[_color(group)], label=short(group))
    legend_below(axes)


def _color(group: str) -> str:
    named_groups = ("backbone", "fpn", "dense_head", "rpn", "box_head", "mask_head", "keypoint_head", "predictor")
    return f"c{named_groups.index(group) + 1}" if group in named_groups else "muted"


def _part(canvas: Canvas, stacks: Sequence[Stack], part: str) -> None:
    order = list(_PART_COLORS)
    earlier = order[: order.index(part)]
    lefts = [sum(stack.parts.get(other, 0) for other in earlier) / 1e6 for stack in stacks]
    widths = [stack.parts.get(part, 0) / 1e6 for stack in stacks]
    color = THEME[_PART_COLORS[part]]
    bars = canvas.axes.barh(range(len(stacks)), widths, 0.62, lefts, color=color, label=part)
    for bar, stack, width in zip(bars.patches, stacks, widths, strict=True):
        canvas.tip(bar, f"{stack.label}: {part} {width:.3f} MB")
