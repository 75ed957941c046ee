"""An image of what benchmarks/torso.py measured: times as fast as dense fp32, over the share of zeros.

python -m benchmarks.torso_plot benchmarks/results/torso-CPU.json --out benchmarks/results/torso-CPU.svg
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.reporting.drawing.svg import THEME, Canvas, drawing, legend_below, standalone

COLORS = {"single": "c2", "out2": "c4", "in4": "c1", "2x4": "c3", "16x4": "c5", "32x4": "c6"}
MARKERS = {"lth_deploy fp32": ("o", "--"), "lth_deploy int8": ("D", "-")}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    rows = json.loads(options.results.read_text())["rows"]
    storage.write_bytes(options.out, picture(rows).encode())
    return 0


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """One SVG of the first network, size and number of threads that the rows hold."""
    first = rows[0]
    title = f"{first['network']} at {first['size']} x {first['size']}, threads: {first['threads']}"
    rows = [row for row in rows if all(row[key] == first[key] for key in ("network", "size", "threads"))]
    with drawing():
        canvas = Canvas(6.4, 4.4)
        axes = canvas.axes
        for (kind, structure), points in curves(rows).items():
            zeros, ratios = zip(*sorted(points), strict=True)
            marker, line = MARKERS[kind]
            axes.plot(
                zeros, ratios, line, marker=marker, color=THEME[COLORS[structure]], label=f"{kind[-4:]}, {structure}"
            )
        int8 = next((row["ratio"] for row in rows if row["contender"] == "onnxruntime int8"), None)
        if int8 is not None:
            axes.axhline(int8, color=THEME["dense"], linewidth=1.2, label="dense int8, ONNX Runtime")
        axes.axhline(1, color=THEME["muted"], linewidth=1.2, linestyle=":", label="dense fp32, ONNX Runtime")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("zeros in each layer, %")
        axes.set_ylabel("times as fast as dense fp32")
        axes.set_title(title, fontsize=10, loc="left")
        legend_below(axes)
        return standalone(canvas.svg("torso", f"Speed over the share of zeros: {title}"))


def curves(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Points of each kind and structure: zeros in per cent, times as fast as dense fp32."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row["contender"] in MARKERS:
            key = (row["contender"], row["structure"])
            found.setdefault(key, []).append((100 * row["sparsity"], row["ratio"]))
    return found


if __name__ == "__main__":
    sys.exit(main())
