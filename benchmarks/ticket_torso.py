"""Tickets without what follows their last layers (boxes, suppression): the kernels against dense ONNX Runtime.

    python -m benchmarks.ticket_torso dense.onnx 80-in4-int8.onnx ... --out benchmarks/results/NAME.json

Detectors of one stage as `lth-deploy export` writes them. Dense and tickets are cut at the same tensors, the outputs of
the dense detector's last convolutions, and get the same random images. In every round each runs once and the order
is drawn; a ratio is the median over rounds of the dense detector's time over the ticket's in the same round.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from benchmarks.networks import feeds_for
from benchmarks.peers import quantize_peer
from benchmarks.result_file import head, ratio
from benchmarks.torso import ONE_CALL
from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.measure.latency import time_interleaved
from lth_deploy.runtimes import RUNTIMES

SCHEMA = "lth-ticket-torso-benchmark/1"
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})


@dataclass(frozen=True)
class Row:
    """One detector; ratio, ratio_int8: times as fast as dense fp32 and as dense INT8 in ONNX Runtime."""

    name: str
    engine: str
    ratio: float
    ratio_int8: float
    median_ms: float
    samples_ms: list[float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dense", type=Path)
    parser.add_argument("tickets", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=int, nargs=2, default=[480, 640], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of time on the wall")
    options = parser.parse_args(arguments)
    about = {**head(SCHEMA, "benchmarks.ticket_torso"), "clock": "processor time" if options.cpu_time else "wall"}
    with tempfile.TemporaryDirectory(prefix="lth-torso-") as scratch:
        rows = measured(options, Path(scratch))
    for row in rows:
        print(f"{row.name:20} {row.median_ms:8.2f} ms  x{row.ratio:.2f} fp32 x{row.ratio_int8:.2f} int8")
    storage.write_json(options.out, {**about, "rows": [asdict(row) for row in rows]})
    return 0


def measured(options: argparse.Namespace, folder: Path) -> list[Row]:
    """All rows: dense fp32, dense INT8, then the tickets."""
    dense = onnx.load(str(options.dense))
    maps = last_maps(dense)
    pictures = [feeds_for(options.dense, tuple(options.picture), seed) for seed in range(5)]
    candidates = {"dense": ("onnxruntime", cut(dense, maps, folder / "dense.onnx"))}
    quantize_peer(candidates["dense"][1], pictures[1:], folder / "int8.onnx")
    candidates["dense int8"] = ("onnxruntime", folder / "int8.onnx")
    for path in options.tickets:
        candidates[path.stem] = ("lth_deploy", cut(onnx.load(str(path)), maps, folder / path.name))
    samples = compare(candidates, pictures[0], options)
    return [
        Row(
            name,
            engine,
            round(ratio(samples["dense"], samples[name]), 3),
            round(ratio(samples["dense int8"], samples[name]), 3),
            round(statistics.median(samples[name]), 3),
            [round(ms, 3) for ms in samples[name]],
        )
        for name, (engine, _) in candidates.items()
    ]


def compare(
    candidates: dict[str, tuple[str, Path]], picture: dict[str, np.ndarray], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Milliseconds of every candidate, one of each round, with one thread."""
    runs: dict[str, Any] = {}
    for name, (engine, path) in candidates.items():
        session = RUNTIMES.get(engine).load(path, threads=1)
        runs[name] = lambda _, session=session: session.run(picture)
    clock = time.process_time if options.cpu_time else time.perf_counter
    timed = time_interleaved(runs, replace(ONE_CALL, minimum_rounds=options.rounds), clock)
    return {name: [statistics.median(block) for block in blocks] for name, blocks in timed.items()}


def last_maps(dense: ModelProto) -> list[str]:
    """Names of what the last layers write: those from which no other layer can be reached."""
    readers: dict[str, list[NodeProto]] = {}
    for node in dense.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    leads_on: dict[str, bool] = {}
    for node in reversed(dense.graph.node):
        for name in node.output:
            leads_on[name] = any(
                reader.op_type in WEIGHTED or any(leads_on[made] for made in reader.output)
                for reader in readers.get(name, ())
            )
    layers = [node for node in dense.graph.node if node.op_type in WEIGHTED]
    return [node.output[0] for node in layers if not leads_on[node.output[0]]]


def cut(model: ModelProto, maps: Sequence[str], path: Path) -> Path:
    """Write the part of the model that computes `maps`.

    Raises:
        DataError: the model does not compute one of them.
    """
    wanted, kept = set(maps), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    made = {name for node in kept for name in node.output}
    missing = sorted(set(maps) - made)
    if missing:
        raise DataError(f"{path.name} has no tensor {missing[0]}; give tickets of this dense detector")
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(reversed(kept))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in maps)
    onnx.save(model, str(path))
    return path


if __name__ == "__main__":
    sys.exit(main())
