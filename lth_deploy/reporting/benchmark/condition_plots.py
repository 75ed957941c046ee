"""Small plots of clock and temperature over the blocks of each row that was measured on a host."""

from collections.abc import Sequence

from lth_deploy.measure.board_results import BlockConditions
from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.reporting import number_text
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below

MOST_PLOTS = 48
"""Of a page; a benchmark of many rows has more than anyone looks at."""


def condition_plots(results: BenchmarkResults) -> list[str]:
    """One plot for each row whose host says its clock or its temperature, in the order of the rows."""
    rows = [row for row in results.rows if _clocks(row.conditions) or _heat(row.conditions)]
    return [_plot(row, f"conditions-{number}") for number, row in enumerate(rows[:MOST_PLOTS])]


def _plot(row: Row, name: str) -> str:
    """Clock and temperature over seconds; throttled blocks are crosses."""
    clocks, heat = _clocks(row.conditions), _heat(row.conditions)
    with drawing():
        canvas = Canvas(4.4, 2.1)
        axes = canvas.axes
        if clocks:
            axes.plot(*zip(*clocks, strict=True), color=THEME["c1"], linewidth=1.4, label="clock, GHz")
            axes.set_ylim(0, 1.15 * max(value for _, value in clocks))
        if heat:
            warm = axes.twinx() if clocks else axes
            warm.plot(*zip(*heat, strict=True), color=THEME["c6"], linewidth=1.4, linestyle="--")
            axes.plot([], [], color=THEME["c6"], linewidth=1.4, linestyle="--", label="hottest zone, °C")
            warm.tick_params(colors=THEME["muted"], length=0)
            for side in ("top", "left", "right", "bottom"):
                warm.spines[side].set_visible(side == "bottom")
        _mark_throttled(canvas, row.conditions, clocks or heat)
        axes.set_xlabel("seconds")
        axes.set_title(_title(row), fontsize=9, loc="left", color=THEME["ink"])
        legend_below(axes)
        return canvas.svg(name, f"clock and temperature of {_title(row)}")


def _mark_throttled(canvas: Canvas, blocks: Sequence[BlockConditions], line: Sequence[tuple[float, float]]) -> None:
    height = dict(line)
    label: str | None = "throttled block"
    for block in blocks:
        if not block.throttled or block.at is None or block.at not in height:
            continue
        (mark,) = canvas.axes.plot(
            [block.at], [height[block.at]], "x", color=THEME["random"], markersize=6, label=label
        )
        repeated = ", measured again" if block.repeated else ""
        canvas.tip(mark, f"throttled{repeated}: {number_text.milliseconds(block.p50)} ms")
        label = None


def _clocks(blocks: Sequence[BlockConditions]) -> list[tuple[float, float]]:
    """Seconds, and the mean clock of the used cores in GHz."""
    found = []
    for block in blocks:
        known = [mhz for mhz in block.mhz if mhz is not None]
        if block.at is not None and known:
            found.append((block.at, sum(known) / len(known) / 1e3))
    return found


def _heat(blocks: Sequence[BlockConditions]) -> list[tuple[float, float]]:
    """Seconds, and degrees Celsius of the hottest zone."""
    found = []
    for block in blocks:
        known = [degrees for degrees in block.celsius.values() if degrees is not None]
        if block.at is not None and known:
            found.append((block.at, max(known)))
    return found


def _title(row: Row) -> str:
    place = f", {row.host}" if row.host else ""
    return f"{row.name}, {row.engine_label}, {number_text.threads(row.threads)}{place}"
