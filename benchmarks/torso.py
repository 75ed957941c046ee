"""Backbones with pyramids and whole detectors: the kernels against dense ONNX Runtime, fp32 and INT8, and OpenVINO.

    python -m benchmarks.torso --out benchmarks/results/torso-CPU.json

With --openvino, OpenVINO computes the dense networks in fp32, in bf16 where the processor has it, and in INT8, with
open and with fixed sizes of the image. With --ncnn, ncnn computes them in fp32.

Masks are random and uniform (each layer has the same share of zeros), the stem stays dense. Every pruned network runs
in fp32, in bf16 where that is asked for, and in INT8. Dense INT8 has quantized outputs, which ONNX Runtime needs to
compute its last layers in INT8; those of our files are float. In every round each candidate runs once and the order is
drawn; a ratio is the median over rounds of the baseline's time over the candidate's in the same round. Outputs are
compared with the dense graph of the same weights. With more than one thread the candidates take turns in blocks,
because idle workers of one session slow down the other. A whole detector is compared with its dense graph of the same
weights: other weights propose other boxes, on which its time depends.

On a machine that does other work, --cpu-time counts the processor time of this process instead of the time on the wall.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from benchmarks.networks import STRUCTURES, USUAL_STRUCTURES, export, feeds_for, prune_randomly
from benchmarks.peers import Candidate, Files, ncnn_candidates, opened, openvino_candidates, quantize_peer
from benchmarks.result_file import head, ratio
from lth_deploy import export_onnx, storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.importing.frozen_sizes import with_sizes
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.config.cost_table import ByteRates, CostTable
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.measure.latency import Timing, time_interleaved

SCHEMA = "lth-torso-benchmark/2"
NETWORKS = ("resnet18", "resnet50")
LEVELS = (0.8, 0.9, 0.95)
ONE_CALL = Timing(seconds=1e-9, block_seconds=1e-9, warm_up=3, settle=0, pause_seconds=0)
BLOCKS = Timing(seconds=1e-9, block_seconds=0.25, warm_up=3, settle=2, pause_seconds=0.05)
"""With more than one thread: idle workers of one session slow down the other, so each gets a block of calls."""

FLOATS = Target(values="fp32")
# Inputs are noise, on which it does not matter how far a network enlarges rounding.
BFLOATS = Target(values="bf16", gates=GatesSpec(bf16_difference=2.0))
DENSE_LAYOUT = Target(values="fp32", region_quads=0, costs=CostTable(int8=ByteRates(layout_dense=10)))
"""Takes INT8 layers into the kernels' layout that the planner leaves to the stock runtime: those without zeros."""


@dataclass(frozen=True)
class Row:
    """One candidate; ratio, ratio_int8: times as fast as dense fp32 and dense INT8 ONNX Runtime, over paired rounds.

    best_dense, ratio_best: the dense engine of the least median time, and times as fast as that.

    largest_relative_error: from a stock runtime with the same weights, quantized ones for int8. predicted: what
    `inspect` says of the whole model without running it, over dense of the same values.
    """

    network: str
    size: int
    threads: int
    contender: str
    sparsity: float | None
    structure: str | None
    ratio: float
    ratio_int8: float
    best_dense: str
    ratio_best: float
    median_ms: float
    least_ms: float
    load_s: float
    largest_relative_error: float | None
    predicted: float | None
    samples_ms: list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    about = {**head(SCHEMA, "benchmarks.torso"), "clock": "processor time" if options.cpu_time else "wall"}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lth-torso-") as scratch:
        folder = options.files or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for network in options.networks:
            files = prepared(network, options, folder)
            for threads in options.threads:
                for size in options.sizes:
                    rows += compare(network, files, size, threads, options)
                    storage.write_json(options.out, {**about, "rows": [asdict(row) for row in rows]})
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[320])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--levels", nargs="*", type=float, default=list(LEVELS))
    parser.add_argument("--structures", nargs="+", choices=list(STRUCTURES), default=list(USUAL_STRUCTURES))
    parser.add_argument(
        "--values", nargs="+", choices=("fp32", "bf16", "int8"), default=["fp32", "int8"], help="of artifacts"
    )
    parser.add_argument("--files", type=Path, help="keep all files in this folder, and use those that are there")
    parser.add_argument(
        "--dense-layout", action="store_true", help="also dense INT8 and bf16, as --values says, by the kernels"
    )
    parser.add_argument("--fixed-size", action="store_true", help="files take images of the first size only")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--ncnn", action="store_true")
    parser.add_argument("--cpu-time", action="store_true", help="one thread only")
    options = parser.parse_args(arguments)
    if options.cpu_time and options.threads != [1]:
        parser.error("--cpu-time adds up all threads, so that more than one shows no gain; use --threads 1")
    return options


def prepared(network: str, options: argparse.Namespace, folder: Path) -> Files:
    """All files of one network: dense, INT8, and for each mask the artifact and its dense twin."""
    stem = Path(network).stem
    dense, quantized = folder / f"{stem}.onnx", folder / f"{stem}-int8.onnx"
    if not dense.is_file():
        export(network, dense, options.sizes[0])
        if options.fixed_size:
            fix_size(dense, options.sizes[0])
    feeds = calibration_feeds(dense, options)
    if not quantized.is_file():
        quantize_peer(dense, feeds, quantized)
    files: Files = {
        ("dense", None, None): dense,
        ("int8", None, None): quantized,
    }
    if options.dense_layout and "bf16" in options.values:
        files["lth_deploy bf16", 0.0, "dense"] = packed(dense, folder / f"{stem}-layout-bf16", BFLOATS)
        files["twin of lth_deploy bf16", 0.0, "dense"] = dense
    if options.dense_layout and "int8" in options.values:
        twin = folder / f"{stem}-layout-int8.onnx"
        if not twin.is_file():
            quantize_dense(dense, feeds, twin)
        files["lth_deploy int8", 0.0, "dense"] = packed(twin, folder / f"{stem}-layout", DENSE_LAYOUT)
        files["twin of lth_deploy int8", 0.0, "dense"] = twin
    model = onnx.load(str(dense))
    for level in options.levels:
        for structure in options.structures:
            source = folder / f"{stem}-{level}-{structure}.onnx"
            twin = folder / f"{source.stem}-int8.onnx"
            if not source.is_file():
                onnx.save(prune_randomly(model, level, structure), str(source))
            if "int8" in options.values and not twin.is_file():
                quantize_dense(source, feeds, twin)
            kinds = {"fp32": (source, FLOATS), "bf16": (source, BFLOATS), "int8": (twin, FLOATS)}
            for values in options.values:
                path, target = kinds[values]
                out = folder / f"{path.stem}{'-bf16' if values == 'bf16' else ''}"
                files[f"lth_deploy {values}", level, structure] = packed(path, out, target)
                files[f"twin of lth_deploy {values}", level, structure] = path
    return files


def peer_of(twin: Path, options: argparse.Namespace) -> Path:
    """A pruned whole detector in INT8 as ONNX Runtime runs it fastest, made where it is not there yet."""
    source = twin.with_name(f"{twin.stem.removesuffix('-int8')}.onnx")
    peer = twin.with_name(f"{twin.stem}-peer.onnx")
    if not peer.is_file():
        quantize_peer(source, calibration_feeds(source, options), peer)
    return peer


def calibration_feeds(path: Path, options: argparse.Namespace) -> list[Feeds]:
    """Inputs that ranges follow from."""
    return [feeds_for(path, size, seed) for size in options.sizes for seed in range(4)]


def fix_size(path: Path, size: int) -> None:
    """Let a file take one image of this height and width, and no others."""
    model = onnx.load(str(path))
    (image,) = model.graph.input
    onnx.save(with_sizes(model, {image.name: (1, 3, size, size)}), str(path))


def packed(source: Path, out: Path, target: Target = FLOATS) -> Path:
    """The artifact of a file, made where it is not there yet."""
    artifact = out / "model.onnx"
    if not artifact.is_file():
        artifact = export_onnx(source, target=target, out=out).artifact
    print(f"{out.name}: {artifact.stat().st_size} bytes", file=sys.stderr)
    return artifact


def compare(
    network: str,
    files: Files,
    size: int,
    threads: int,
    options: argparse.Namespace,
) -> list[Row]:
    feeds = feeds_for(files["dense", None, None], size, 9)
    candidates = [opened("onnxruntime fp32", None, None, "onnxruntime", files["dense", None, None], feeds, threads)]
    candidates.append(opened("onnxruntime int8", None, None, "onnxruntime", files["int8", None, None], feeds, threads))
    if options.openvino:
        candidates += openvino_candidates(files, feeds, threads, open_sizes=not options.fixed_size)
    if options.ncnn:
        candidates += ncnn_candidates(files, feeds, threads)
    dense = len(candidates)
    twins: dict[tuple[str, float | None, str | None], Candidate] = {}
    for (kind, level, structure), path in files.items():
        if kind.startswith("lth_deploy"):
            found = opened(kind, level, structure, "lth_deploy", path, feeds, threads)
            twin = files[f"twin of {kind}", level, structure]
            exact = opened(f"dense twin of {kind}", level, structure, "onnxruntime", twin, feeds, threads)
            found.error = largest_error(found.run(), exact.run())
            if structure == "dense" and kind.endswith("int8"):
                found.predicted = None  # the rates of DENSE_LAYOUT choose the layers, and are no prediction
            if found.error is None:
                if kind.endswith("int8"):
                    peer = files["int8", None, None] if structure == "dense" else peer_of(twin, options)
                    exact = opened(exact.name, level, structure, "onnxruntime", peer, feeds, threads)
                twins[kind, level, structure] = exact
                candidates.append(exact)
            candidates.append(found)
    measure(candidates, options.rounds, threads, time.process_time if options.cpu_time else time.perf_counter)

    best = min(candidates[:dense], key=lambda one: statistics.median(one.samples))

    def gain(c: Candidate, kind: str, otherwise: Candidate) -> float:
        base = twins.get((f"lth_deploy {kind}", c.sparsity, c.structure), otherwise)
        return round(ratio(base.samples, c.samples), 3)

    rows = [
        Row(
            network,
            size,
            threads,
            c.name,
            c.sparsity,
            c.structure,
            gain(c, "fp32", candidates[0]),
            gain(c, "int8", candidates[1]),
            best.name,
            round(ratio(best.samples, c.samples), 3),
            round(statistics.median(c.samples), 3),
            round(min(c.samples), 3),
            round(c.load_s, 3),
            c.error,
            c.predicted,
            [round(ms, 3) for ms in c.samples],
        )
        for c in candidates
    ]
    for row in rows:
        print(
            f"{network}@{size} {threads}T {row.contender:20} {row.sparsity or ''!s:5} {row.structure or '':7} "
            f"{row.median_ms:8.2f} ms  x{row.ratio:.2f} fp32 x{row.ratio_int8:.2f} int8 x{row.ratio_best:.2f} best  "
            f"error {row.largest_relative_error} "
            f"predicted x{row.predicted or 1}"
        )
    return rows


def largest_error(found: list[np.ndarray], exact: list[np.ndarray]) -> float | None:
    """Largest difference of any output over its largest finite magnitude; None for lists of boxes, which may flip."""
    if any(len(one.shape) < 3 for one in exact):
        return None
    return max(_relative_error(a, b) for a, b in zip(found, exact, strict=True))


def _relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    """Untrained detectors decode sizes to infinity, which counts as the largest number of the type."""
    finite_found, finite = (np.nan_to_num(one).astype(np.float64) for one in (found, exact))
    return float(np.abs(finite_found - finite).max() / np.abs(finite).max())


def measure(candidates: list[Candidate], rounds: int, threads: int, clock: Callable[[], float]) -> None:
    """Fill the samples: one call a round, or with more threads the medians of a block a round."""
    timing = replace(ONE_CALL if threads == 1 else BLOCKS, minimum_rounds=rounds)
    runs = {str(number): (lambda _, run=one.run: run()) for number, one in enumerate(candidates)}
    for number, blocks in time_interleaved(runs, timing, clock).items():
        candidates[int(number)].samples = [statistics.median(block) for block in blocks]


if __name__ == "__main__":
    sys.exit(main())
