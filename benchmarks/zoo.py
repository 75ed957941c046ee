"""Detectors that people deploy: whole files with the kernels against the dense engines, fp32 and INT8.

    python -m benchmarks.zoo --out benchmarks/results/zoo-CPU.json

Weights are random, with the same share of zeros in every dense convolution (`single` in fp32, `in4` in INT8; depthwise
layers stay dense), so that times are real and AP is not; pruned layers get the channel statistics of the dense network.
Transformer decoders of DETRs stay float in INT8, as `export` leaves them. Every engine gets the file as `export`
imports it. Engines: ONNX Runtime in fp32 and INT8, and OpenVINO in fp32, bf16 where the processor has it, and INT8,
with the file's fixed shape. In every round each candidate runs once and the order is drawn; a ratio is the median over
rounds of the other's time over ours in the same round. On a machine that does other work, --cpu-time counts the
processor time of this process.

A model is written to the result file as soon as it is measured, and is left out when the command is given again with
the same file. What `export` refuses has no row, and its reason stands in the result. --table prints a result file as
Markdown.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from benchmarks.channel_statistics import with_statistics_of
from benchmarks.networks import feeds_for, prune_randomly
from benchmarks.peers import Candidate, Files, opened, openvino_candidates, quantize_peer
from benchmarks.result_file import head, ratio
from benchmarks.torso import largest_error, measure, packed
from benchmarks.zoo_models import ZOO, zoo_file
from lth_deploy import inspect, storage
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.compiler.quantization.quantize_ticket import decoder_weights
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.errors import LthError

SCHEMA = "lth-zoo-benchmark/1"
LEVELS = (0.0, 0.5, 0.8, 0.9)
STRUCTURES = {"fp32": "single", "int8": "in4"}

# Untrained networks enlarge rounding from layer to layer more than trained ones, for which the gate's bound is made.
TARGET = Target(values="fp32", gates=GatesSpec(output_difference=1e-3))


@dataclass(frozen=True)
class Row:
    """One file with the kernels.

    ratio, ratio_best: times as fast as dense ONNX Runtime of the same values, and as the best dense engine.
    predicted: `ratio` as `inspect` predicts it without running the file. regions: their number. error: the largest
    difference of any output from ONNX Runtime's with the same weights, over its largest magnitude; None for lists of
    boxes, and where a TopK chooses rows.
    """

    values: str
    sparsity: float
    structure: str
    median_ms: float
    ratio: float
    ratio_best: float
    predicted: float | None
    regions: int
    error: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    if options.table:
        print(table(json.loads(options.out.read_text())))
        return 0
    about = {**head(SCHEMA, "benchmarks.zoo"), "clock": "processor time" if options.cpu_time else "wall", "models": {}}
    result = json.loads(options.out.read_text()) if options.out.is_file() else about
    with tempfile.TemporaryDirectory(prefix="lth-zoo-") as scratch:
        folder = options.files or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.models:
            if name in result["models"]:
                print(f"{name}: measured already", file=sys.stderr)
                continue
            result["models"][name] = measured(name, options, folder)
            storage.write_json(options.out, result)
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=list(ZOO), default=list(ZOO), metavar="NAME")
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS), help="shares of zeros")
    parser.add_argument("--values", nargs="+", choices=tuple(STRUCTURES), default=list(STRUCTURES))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of time on the wall")
    parser.add_argument("--files", type=Path, help="keep all files in this folder, and use those that are there")
    parser.add_argument("--table", action="store_true", help="measure nothing; print the table of the result file")
    return parser.parse_args(arguments)


def measured(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Times of the dense engines, and a row for each artifact."""
    dense = folder / f"{name}-normalized.onnx"
    if not dense.is_file():
        onnx.save(import_model(onnx.load(str(zoo_file(name, folder)))).normalized.proto, str(dense))
    size = ZOO[name].size
    feeds = [feeds_for(dense, size, seed) for seed in range(5)]
    quantized = folder / f"{name}-int8.onnx"
    if not quantized.is_file():
        quantize_peer(dense, feeds[1:], quantized, keep_float=decoder_weights(onnx.load(str(dense))))
    files: Files = {("dense", None, None): dense, ("int8", None, None): quantized}
    engines = {
        "fp32": opened("onnxruntime fp32", None, None, "onnxruntime", dense, feeds[0], 1),
        "int8": opened("onnxruntime int8", None, None, "onnxruntime", quantized, feeds[0], 1),
    }
    peers = [*engines.values(), *openvino_candidates(files, feeds[0], 1, open_sizes=False)]
    ours, refused = [], {}
    for values in options.values:
        for level in options.levels:
            try:
                ours.append(artifact(name, values, level, feeds, folder))
            except LthError as error:
                refused[f"{values} {level:g}"] = str(error)
                print(f"{name} {values} {level:g} has no file: {error}", flush=True)
    clock = time.process_time if options.cpu_time else time.perf_counter
    measure([*peers, *(one for one, _ in ours)], options.rounds, 1, clock)
    best = min(peers, key=lambda one: statistics.median(one.samples))
    rows = [row(one, path, engines[one.name], best) for one, path in ours]
    for one in rows:
        print(f"{name} {one}", flush=True)
    return {
        "size": size,
        "best_dense": best.name,
        "dense_ms": {one.name: round(statistics.median(one.samples), 3) for one in peers},
        "rows": [asdict(one) for one in rows],
        "refused": refused,
    }


def artifact(name: str, values: str, level: float, feeds: list[dict[str, Any]], folder: Path) -> tuple[Candidate, Path]:
    """The packed file with these zeros, opened with the kernels and compared with its dense twin."""
    structure = STRUCTURES[values]
    source = folder / f"{name}-{level}-{structure}.onnx"
    if not source.is_file():
        dense = onnx.load(str(folder / f"{name}-normalized.onnx"))
        onnx.save(with_statistics_of(dense, prune_randomly(dense, level, structure), feeds[1]), str(source))
    if values == "int8":
        twin = source.with_name(f"{source.stem}-int8.onnx")
        if not twin.is_file():
            quantize_dense(source, feeds[1:], twin, keep_float=decoder_weights(onnx.load(str(source))))
        source = twin
    path = packed(source, folder / source.stem, TARGET)
    found = opened(values, level, structure, "lth_deploy", path, feeds[0], 1)
    exact = opened(values, level, structure, "onnxruntime", source, feeds[0], 1)
    if not chooses(onnx.load(str(source))):
        found.error = largest_error(found.run(), exact.run())
    return found, path


def chooses(model: onnx.ModelProto) -> bool:
    """Whether rows of outputs follow from scores, of which rounding exchanges equal ones."""
    return any(node.op_type == "TopK" for node in model.graph.node)


def row(one: Candidate, path: Path, engine: Candidate, best: Candidate) -> Row:
    described = inspect(path)
    return Row(
        values=one.name,
        sparsity=one.sparsity or 0.0,
        structure=str(one.structure),
        median_ms=round(statistics.median(one.samples), 3),
        ratio=round(ratio(engine.samples, one.samples), 3),
        ratio_best=round(ratio(best.samples, one.samples), 3),
        predicted=one.predicted,
        regions=len({layer.region for layer in described.layers if layer.region is not None}),
        error=one.error,
    )


def table(result: dict[str, Any]) -> str:
    """A result file as Markdown: a line for each model, with ratios over ONNX Runtime and over the best engine."""
    levels = sorted({(one["values"], one["sparsity"]) for model in result["models"].values() for one in model["rows"]})
    titles = [f"{values} {level:.0%}" for values, level in levels]
    lines = [f"| model | best dense, ms | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
    for name, model in result["models"].items():
        found = {(one["values"], one["sparsity"]): one for one in model["rows"]}
        cells = [
            f"{found[key]['ratio']:.2f} / {found[key]['ratio_best']:.2f}" if key in found else "" for key in levels
        ]
        best = model["best_dense"]
        lines.append(f"| {name}@{model['size']} | {best} {model['dense_ms'][best]:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
