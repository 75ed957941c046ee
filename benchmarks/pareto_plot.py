"""An image of what `lth-deploy benchmark` measured: AP over latency and over bytes, one curve for each kind of ticket.

    python -m benchmarks.pareto_plot benchmarks/results/NAME.json --out benchmarks/results/NAME.svg [--against bytes]

Files are named [MODEL-]LEVEL-KIND.onnx, as in 80-in4-int8.onnx: files of one kind are a curve, and the level labels its
points. A ticket stands where the kernels run it, dense models where ONNX Runtime does.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lth_deploy import storage
from lth_deploy.measure.results import Row, load_benchmark
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, standalone

LEVEL = re.compile(r"(?:^|-)(\d+)-")
AXES = {"latency": "median latency of the whole detector, ms", "bytes": "file size, MB"}
MARKERS = "oDs^vP"
OFFSETS = ((5, 5), (-14, -10))
"""Of labels, in points; curves that follow each other in the legend do not write over each other."""


@dataclass(frozen=True)
class Point:
    """One file; x in ms or MB, ap as a fraction, level: the label, empty for a dense model."""

    kind: str
    level: str
    x: float
    ap: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", choices=sorted(AXES), default="latency")
    options = parser.parse_args(arguments)
    rows = load_benchmark(options.results)[0].rows
    storage.write_bytes(options.out, picture(points(rows, options.against), AXES[options.against]).encode())
    return 0


def points(rows: Sequence[Row], against: str) -> list[Point]:
    """The point of every file that has AP of boxes, in the order of the rows."""
    found = []
    for row in rows:
        ap, x = row.ap_of("bbox"), row.p50 if against == "latency" else row.bytes
        dense = row.kind != "packed"
        if ap is None or x is None or row.engine != ("onnxruntime" if dense else "lth_deploy"):
            continue
        level = None if dense else LEVEL.search(row.name)
        kind = row.name[level.end() :] if level else row.name
        found.append(Point(kind, level[1] if level else "", x if against == "latency" else x / 1e6, ap))
    return found


def picture(found: Sequence[Point], x_label: str) -> str:
    """One SVG; latency and bytes on a logarithmic axis, since tickets differ from each other by ratios."""
    from matplotlib.ticker import LogLocator, NullFormatter

    with drawing():
        canvas = Canvas(6.4, 4.4)
        axes = canvas.axes
        for number, kind in enumerate(dict.fromkeys(point.kind for point in found)):
            curve = sorted((point for point in found if point.kind == kind), key=lambda point: point.x)
            color, offset = THEME[f"c{number % 8 + 1}"], OFFSETS[number % len(OFFSETS)]
            axes.plot(
                [point.x for point in curve],
                [100 * point.ap for point in curve],
                "-",
                marker=MARKERS[number % len(MARKERS)],
                color=color,
                label=kind,
            )
            for point in curve:
                place = (point.x, 100 * point.ap)
                axes.annotate(point.level, place, textcoords="offset points", xytext=offset, color=color, fontsize=8)
        axes.set_xscale("log", subs=(2, 5))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", color=THEME["line"], linewidth=1)
        axes.set_xlabel(x_label)
        axes.set_ylabel("AP on test")
        legend_below(axes)
        return standalone(canvas.svg("front", f"AP against {x_label}"))


if __name__ == "__main__":
    sys.exit(main())
