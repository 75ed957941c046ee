"""What the weights of a session with kernels take beside a dense one: bytes of each kept weight, packing time, memory.

    python -m benchmarks.holding --out benchmarks/results/holding-CPU.json

Masks are random and uniform, as in benchmarks/torso.py. Every session is opened in a process of its own, the dense one
and the one with kernels in turns; times are processor time, so that they hold on a machine that does other work.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.networks import export, feeds_for, prune_randomly
from benchmarks.result_file import head
from lth_deploy import export_onnx, storage
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.config.target import Target

SCHEMA = "lth-holding-benchmark/1"
OPENER = Path(__file__).with_name("open_once.py")
INPUT = "image"
FORMS = (("fp32", "single"), ("fp32", "out2"), ("int8", "in4"), ("int8", "2x4"))


@dataclass(frozen=True)
class Row:
    """One packed network. kept_weights: of its regions; load_ratio, peak_ratio: over the dense session's."""

    network: str
    sparsity: float
    values: str
    structure: str
    kept_weights: int
    weight_bytes: int
    bytes_a_weight: float
    made_s: float
    load_s: float
    dense_load_s: float
    load_ratio: float
    peak_bytes: int
    dense_peak_bytes: int
    peak_ratio: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--levels", nargs="+", type=float, default=[0.8, 0.9])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    about, rows = head(SCHEMA, "benchmarks.holding"), []
    with tempfile.TemporaryDirectory(prefix="lth-holding-") as scratch:
        for network in options.networks:
            dense = Path(scratch) / f"{network}.onnx"
            export(network, dense, options.size)
            for level in options.levels:
                for values, structure in FORMS:
                    rows.append(measured(network, dense, level, values, structure, options))
                    print(rows[-1], file=sys.stderr, flush=True)
                    storage.write_json(options.out, {**about, "rows": [asdict(row) for row in rows]})
    return 0


def measured(network: str, dense: Path, level: float, values: str, structure: str, options: argparse.Namespace) -> Row:
    """Pack the network and open it, and the same network without kernels, in turns."""
    source = dense.with_name(f"{network}-{level}-{structure}-{values}.onnx")
    onnx.save(prune_randomly(onnx.load(str(dense)), level, structure), str(source))
    if values == "int8":
        quantized = source.with_name(f"{source.stem}-q.onnx")
        quantize_dense(source, [feeds_for(source, options.size, seed) for seed in range(2)], quantized)
        source = quantized
    done = export_onnx(source, target=Target(values="fp32"), out=source.with_suffix(""))
    pairs = [
        (fresh("onnxruntime", source, options.size), fresh("lth_deploy", done.artifact, options.size))
        for _ in range(options.rounds)
    ]
    load, dense_load = (statistics.median(pair[side]["load_s"] for pair in pairs) for side in (1, 0))
    peak, dense_peak = (max(pair[side]["peak_bytes"] for pair in pairs) for side in (1, 0))
    made_s = statistics.median(pair[1]["made_s"] for pair in pairs)
    weight_bytes, kept = pairs[0][1]["weight_bytes"], kept_weights(source)
    return Row(
        network, level, values, structure, kept, weight_bytes, round(weight_bytes / kept, 3), round(made_s, 4),
        round(load, 4), round(dense_load, 4), round(load / dense_load, 3),
        peak, dense_peak, round(peak / dense_peak, 3),
    )  # fmt: skip


def kept_weights(path: Path) -> int:
    """Non-zero weights of all layers; the stem, dense inside of the region, counts with its own."""
    arrays = (onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer)
    return sum(int(np.count_nonzero(array)) for array in arrays if array.ndim > 1)


def fresh(engine: str, path: Path, size: int) -> dict[str, Any]:
    """Open a file in a new process."""
    command = [sys.executable, str(OPENER), engine, str(path), INPUT, str(size)]
    with tempfile.TemporaryDirectory(prefix="lth-holding-") as folder:
        profile = Path(folder) / "profile"
        environment = {**os.environ, "LTH_PROFILE": str(profile)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        regions = [json.loads(line) for line in profile.read_text().splitlines()] if profile.exists() else []
    for key in ("weight_bytes", "made_s"):
        figures[key] = sum(region[key] for region in regions)
    return figures


if __name__ == "__main__":
    sys.exit(main())
