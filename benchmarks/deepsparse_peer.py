"""Pruned backbones with pyramids: the kernels against DeepSparse, which lives in an interpreter of its own.

    python3 -m venv DIR && DIR/bin/pip install deepsparse==1.8.0        # needs Python 3.11 or older
    python -m benchmarks.deepsparse_peer --python DIR/bin/python --out benchmarks/results/deepsparse-CPU.json

Both get the same weights, with random zeros that are as many in each layer. In every round each candidate computes the
same image once, in rotating order; a ratio is the median over rounds. Every process measures itself, with --cpu-time
its processor time. Sums of DeepSparse's outputs are compared with ours, so that both did the work.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.engine_processes import start_worker
from benchmarks.networks import export, feeds_for, prune_randomly
from benchmarks.result_file import head, ratio
from lth_deploy import export_onnx, storage
from lth_deploy.config.target import Target
from lth_deploy.runtimes import RUNTIMES

SCHEMA = "lth-deepsparse-benchmark/1"
WARM_UP = 3
OWN, OWN_DENSE, PEER, PEER_DENSE = "lth_deploy", "onnxruntime dense", "deepsparse", "deepsparse dense"


@dataclass
class Candidate:
    """Something that computes the image of a seed and returns its seconds and the sums of its outputs."""

    name: str
    sparsity: float
    run: Callable[[int], tuple[float, list[float]]]
    samples: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="interpreter that has deepsparse")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--levels", nargs="+", type=float, default=[0.8, 0.9])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args(arguments)
    about = {**head(SCHEMA, "benchmarks.deepsparse_peer"), "clock": "processor time" if options.cpu_time else "wall"}
    rows: list[dict[str, Any]] = []
    for network in options.networks:
        with tempfile.TemporaryDirectory(prefix="lth-deepsparse-") as folder:
            rows += compare(network, Path(folder), options)
        storage.write_json(options.out, {**about, "rows": rows})
    return 0


def compare(network: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All candidates of one network, timed in turns."""
    dense = folder / "dense.onnx"
    export(network, dense, options.size)
    candidates = [own(OWN_DENSE, 0.0, "onnxruntime", dense, options), peer(PEER_DENSE, 0.0, dense, options)]
    for level in options.levels:
        pruned = folder / f"{level}.onnx"
        onnx.save(prune_randomly(onnx.load(str(dense)), level, "single"), str(pruned))
        packed = export_onnx(pruned, target=Target(values="fp32"), out=folder / pruned.stem).artifact
        candidates += [own(OWN, level, "lth_deploy", packed, options), peer(PEER, level, pruned, options)]
    for turn in range(-WARM_UP, options.rounds):
        first = turn % len(candidates)
        for candidate in [*candidates[first:], *candidates[:first]]:
            seconds, candidate.sums = candidate.run(turn + WARM_UP)
            if turn >= 0:
                candidate.samples.append(1e3 * seconds)
    check(candidates)
    return [row(network, options.size, one, candidates) for one in candidates]


def own(name: str, level: float, engine: str, path: Path, options: argparse.Namespace) -> Candidate:
    """A session in this process."""
    session = RUNTIMES.get(engine).load(path, threads=1)
    clock = time.process_time if options.cpu_time else time.perf_counter

    def run(seed: int) -> tuple[float, list[float]]:
        feeds = feeds_for(path, options.size, seed)
        began = clock()
        outputs = session.run(feeds).values()
        seconds = clock() - began
        return seconds, [float(np.abs(output, dtype=np.float64).sum()) for output in outputs]

    return Candidate(name, level, run)


def peer(name: str, level: float, path: Path, options: argparse.Namespace) -> Candidate:
    """DeepSparse in its own process."""
    worker = start_worker(options.python, "deepsparse", path, options.size)

    def run(seed: int) -> tuple[float, list[float]]:
        answer = worker.run(seed)
        return answer["processor_s" if options.cpu_time else "wall_s"], answer["sums"]

    return Candidate(name, level, run)


def check(candidates: Sequence[Candidate]) -> None:
    """Both engines found the same, to float32's rounding."""
    for own, peer in zip(candidates[::2], candidates[1::2], strict=True):
        if not np.allclose(own.sums, peer.sums, rtol=1e-3):
            raise SystemExit(f"{peer.name} at {peer.sparsity}: its outputs are not ours; the times mean nothing")


def row(network: str, size: int, one: Candidate, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Times, and how many times as fast as dense ONNX Runtime and as DeepSparse with the same weights."""
    same = next(c for c in candidates if c.name.startswith("deepsparse") and c.sparsity == one.sparsity)
    return {
        "network": network,
        "size": size,
        "threads": 1,
        "contender": one.name,
        "sparsity": one.sparsity,
        "ratio": round(ratio(candidates[0].samples, one.samples), 3),
        "ratio_deepsparse": round(ratio(same.samples, one.samples), 3),
        "ratio_deepsparse_dense": round(ratio(candidates[1].samples, one.samples), 3),
        "median_ms": round(statistics.median(one.samples), 3),
        "samples_ms": [round(ms, 3) for ms in one.samples],
    }


if __name__ == "__main__":
    sys.exit(main())
