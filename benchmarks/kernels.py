"""Single layers inside ONNX Runtime: the kernels on zeros of several shares against the dense convolution.

    python -m benchmarks.kernels benchmarks/layers/resnet_fpn_320.txt --out benchmarks/results/kernels-CPU.json
    python -m benchmarks.kernels benchmarks/layers/resnet_fpn_320.txt --values int8 --out benchmarks/results/...

Layers of bf16 are compared with dense ones in fp32, as ONNX Runtime has no others. Both times are those of the layer
alone: of the dense node from ONNX Runtime's own profile, of the kernel from the library's (LTH_PROFILE); changing the
layout at the ends of a region is not in it. Dense and sparse sessions take turns, run by run; times are medians.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto

from benchmarks.layer_models import (
    Layer,
    bf16_region_model,
    dense_model,
    quantized_model,
    quantized_region_model,
    region_model,
)
from benchmarks.networks import STRUCTURES, USUAL_STRUCTURES
from benchmarks.result_file import head
from lth_deploy import storage
from lth_deploy.kernels import ops_library

SCHEMA = "lth-kernel-benchmark/1"


@dataclass(frozen=True)
class Contest:
    """What is compared.

    instruction: of the region, that is timed; node: in the name of the dense one; bytes: of a value.
    """

    dense: Callable[[Layer, np.ndarray], ModelProto]
    region: Callable[[Layer, np.ndarray], ModelProto]
    structures: Sequence[str]
    densest: str
    instruction: int
    node: str
    bytes: int


CONTESTS = {
    "fp32": Contest(dense_model, region_model, USUAL_STRUCTURES, "out2", 1, "Conv", 4),
    "bf16": Contest(dense_model, bf16_region_model, USUAL_STRUCTURES, "out2", 1, "Conv", 4),
    "int8": Contest(
        quantized_model, quantized_region_model, ("single", "in4", "2x4", "16x4", "32x4"), "2x4", 2, "QLinearConv", 1
    ),
}
"""densest: the structure that stands for layers without zeros."""


@dataclass(frozen=True)
class Sparse:
    """One mask of a layer.

    gmacs: giga multiplications by non-zero weights a second; gbytes: gigabytes of activations read and written a
    second; ratio: times as fast as dense.
    """

    sparsity: float
    structure: str
    ms: float
    gmacs: float
    gbytes: float
    ratio: float


@dataclass
class Row:
    """A layer: dense time and rate, and every mask."""

    layer: Layer
    dense_ms: float
    dense_gmacs: float
    sparse: list[Sparse] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layers", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.0, 0.8, 0.9, 0.95])
    parser.add_argument("--values", choices=CONTESTS, default="fp32")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    about = head(SCHEMA, "benchmarks.kernels")
    rows: list[Row] = []
    for path in options.layers:
        for layer in read_layers(path):
            rows.append(measured(layer, CONTESTS[options.values], options.levels, options.rounds))
            print(line(rows[-1]))
            storage.write_json(options.out, {**about, "rows": [asdict(row) for row in rows]})
    return 0


def read_layers(path: Path) -> list[Layer]:
    """The layers of a text file: five numbers a line, and six of a grouped layer; # starts a comment line."""
    lines = [row for row in path.read_text().splitlines() if row and not row.startswith("#")]
    return [Layer(*map(int, row.split())) for row in lines]


def measured(layer: Layer, contest: Contest, levels: Sequence[float], rounds: int) -> Row:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(layer.weight_shape).astype(np.float32)
    levels = levels if layer.groups < layer.inputs else [0.0]  # zeros of depthwise layers are multiplied too
    feeds = {"x": rng.standard_normal((1, layer.inputs, layer.size, layer.size)).astype(np.float32)}
    with tempfile.TemporaryDirectory(prefix="lth-kernels-") as folder:
        profile = Path(folder) / "kernels.jsonl"
        os.environ["LTH_PROFILE"] = str(profile)
        dense = session(contest.dense(layer, weight), profile_in=Path(folder))
        masks = [
            (level, structure)
            for level in levels
            for structure in contest.structures
            if level or structure == contest.densest
        ]
        kept = {mask: mask_of(weight.shape, *mask, rng) for mask in masks}
        sparse = {mask: session(contest.region(layer, weight * kept[mask]), library=True) for mask in masks}
        for _ in range(rounds):
            run_all([dense, *sparse.values()], feeds)
        dense_ms = dense_time(Path(dense.end_profiling()), contest.node)
        row = Row(layer, round(dense_ms, 4), round(layer.macs / dense_ms / 1e6, 1))
        for mask in masks:
            del sparse[mask]  # a region writes its profile when it goes
            found = json.loads(profile.read_text().splitlines()[-1])
            ms = found["median_ns"][contest.instruction] / 1e6
            macs = layer.macs * float(kept[mask].mean())
            gbytes = sum(layer.pixels) * contest.bytes / ms / 1e6
            rates = (round(rate, 1) for rate in (macs / ms / 1e6, gbytes))
            row.sparse.append(Sparse(*mask, round(ms, 4), *rates, round(dense_ms / ms, 3)))
    return row


def run_all(sessions: list[Any], feeds: dict[str, np.ndarray]) -> None:
    for session in sessions:
        session.run(None, feeds)


def mask_of(shape: tuple[int, ...], sparsity: float, structure: str, rng: np.random.Generator) -> np.ndarray:
    rows, columns = STRUCTURES[structure].outputs, STRUCTURES[structure].inputs
    blocks = rng.random((-(-shape[0] // rows), -(-shape[1] // columns), *shape[2:])) >= sparsity
    return blocks.repeat(rows, axis=0).repeat(columns, axis=1)[: shape[0], : shape[1]]


def dense_time(profile: Path, node: str) -> float:
    """Median milliseconds of the convolution in a profile of ONNX Runtime."""
    events = json.loads(profile.read_text())
    times = [
        event["dur"] / 1000
        for event in events
        if node in event.get("args", {}).get("op_name", "") and event["name"].endswith("kernel_time")
    ]
    return statistics.median(times)


def session(model: ModelProto, *, library: bool = False, profile_in: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if library:
        options.register_custom_ops_library(str(ops_library()))
    if profile_in is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_in / "dense")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def line(row: Row) -> str:
    layer = row.layer
    groups = f" {layer.groups} groups" if layer.groups > 1 else ""
    name = f"{layer.inputs}->{layer.outputs} {layer.kernel}x{layer.kernel}/{layer.stride} @{layer.size}{groups}"
    masks = "  ".join(
        f"{s.sparsity:.0%} {s.structure} {s.ms:.2f} ms x{s.ratio:.2f} ({s.gmacs:.0f} GMAC/s, {s.gbytes:.0f} GB/s)"
        for s in row.sparse
    )
    return f"{name:24} dense {row.dense_ms:.2f} ms ({row.dense_gmacs:.0f} GMAC/s)  {masks}"


if __name__ == "__main__":
    sys.exit(main())
