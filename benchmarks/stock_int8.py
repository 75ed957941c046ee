"""INT8 artifacts in stock ONNX Runtimes, without our library: they must be as fast as dense INT8 there.

    python3 -m venv OLD && OLD/bin/pip install onnxruntime==1.18.1 'numpy<2'
    python -m benchmarks.stock_int8 --pythons OLD/bin/python --out benchmarks/results/stock-int8-CPU.json

For this interpreter and each of --pythons the packed artifact and the plain QDQ file with the same weights take turns,
in processes that measure themselves, with --cpu-time their processor time. Their outputs must have the same sums.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from benchmarks.engine_processes import start_worker
from benchmarks.networks import export, feeds_for, prune_randomly
from benchmarks.result_file import head, ratio
from lth_deploy import export_onnx, storage
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.config.target import Target
from lth_deploy.measure.machine import describe_machine

SCHEMA = "lth-stock-int8-benchmark/1"
WARM_UP = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pythons", nargs="*", type=Path, default=[], help="interpreters with another onnxruntime")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--structures", nargs="+", default=["single", "in4", "2x4"])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args(arguments)
    about = {**head(SCHEMA, "benchmarks.stock_int8"), "clock": "processor time" if options.cpu_time else "wall"}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="lth-stock-int8-") as folder:
        for structure in options.structures:
            plain, packed = prepared(structure, Path(folder), options)
            for python in [Path(sys.executable), *options.pythons]:
                rows.append(compare(structure, plain, packed, python, options))
                storage.write_json(options.out, {**about, "rows": rows})
    return 0


def prepared(structure: str, folder: Path, options: argparse.Namespace) -> tuple[Path, Path]:
    """A network with random zeros in QDQ form, and the artifact that our export makes of that file."""
    dense, pruned, plain = (folder / f"{structure}-{what}.onnx" for what in ("dense", "pruned", "qdq"))
    export(options.network, dense, options.size)
    onnx.save(prune_randomly(onnx.load(str(dense)), options.sparsity, structure), str(pruned))
    feeds = [feeds_for(dense, options.size, seed) for seed in range(4)]
    quantize_dense(pruned, feeds, plain, reduce_range=not describe_machine().exact_u8s8)
    return plain, export_onnx(plain, target=Target(values="fp32"), out=folder / structure).artifact


def compare(structure: str, plain: Path, packed: Path, python: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both files in one stock runtime, timed in turns."""
    workers = [start_worker(python, "onnxruntime", path, options.size) for path in (plain, packed)]
    clock = "processor_s" if options.cpu_time else "wall_s"
    samples: list[list[float]] = [[], []]
    for turn in range(-WARM_UP, options.rounds):
        answers: list[dict[str, Any]] = [{}, {}]
        for side in (0, 1) if turn % 2 else (1, 0):
            answers[side] = workers[side].run(turn + WARM_UP)
        if answers[0]["sums"] != answers[1]["sums"]:
            raise SystemExit(f"{packed}: onnxruntime {workers[1].version} computes other outputs than of {plain}")
        if turn >= 0:
            for side in (0, 1):
                samples[side].append(1e3 * answers[side][clock])
    share = ratio(samples[1], samples[0])
    print(f"onnxruntime {workers[0].version}, {structure}: {share:.3f} of the plain QDQ file's time, equal outputs")
    return {
        "network": options.network,
        "size": options.size,
        "sparsity": options.sparsity,
        "structure": structure,
        "onnxruntime": workers[0].version,
        "time_of_plain_qdq": round(share, 4),
        "load_s": [round(worker.load_s, 3) for worker in workers],
        "bytes": [plain.stat().st_size, packed.stat().st_size],
        "plain_ms": [round(ms, 3) for ms in samples[0]],
        "packed_ms": [round(ms, 3) for ms in samples[1]],
    }


if __name__ == "__main__":
    sys.exit(main())
