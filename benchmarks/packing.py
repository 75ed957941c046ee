"""Pack a network of 44.6 M weights: time, bytes against the entropy bound, and what loading it costs.

    python -m benchmarks.packing --python OTHER/bin/python --out benchmarks/results/packing.json

Every load is a fresh process; dense and packed files take turns, so that a slow phase of the machine meets
both. Load times are the least of all rounds, which are all in the JSON. The packed file's outputs are
compared with the dense file's bit for bit in every load.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy import storage
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.value_types import round_values
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.measure.machine import describe_machine
from lth_deploy.run.directory import versions

ZEROS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
LOADED = ((0.5, "size"), (0.5, "load"), (0.8, "size"), (0.8, "load"), (0.9, "size"), (0.9, "load"))
LOADER = Path(__file__).with_name("load_once.py")


@dataclass(frozen=True)
class Packing:
    """One packing of the network; worst_tensor_to_entropy: bytes over the bound, of the worst tensor.

    cpu_seconds does not count the turns of other processes on a busy machine.
    """

    zeros: float
    values: str
    prefer: str
    seconds: float
    cpu_seconds: float
    dense_bytes: int
    file_bytes: int
    worst_tensor_to_entropy: float
    codings: dict[str, int]


@dataclass(frozen=True)
class Loading:
    """Loads of one packed file beside its dense twin; the ratios are of least times and of largest peaks."""

    zeros: float
    values: str
    prefer: str
    onnxruntime: str
    dense_load_s: list[float]
    load_s: list[float]
    load_ratio: float
    dense_peak_bytes: int
    peak_bytes: int
    peak_ratio: float
    bit_equal: bool


def network(zeros: float) -> ModelProto:
    """The weight shapes of a large two-stage detector: 3x3 and 1x1 convolutions, and one large product."""
    rng = np.random.default_rng(0)
    shapes = [(512, 512, 3, 3)] * 10 + [(1024, 512, 1, 1)] + [(1024, 1024, 1, 1)] * 7 + [(256, 1024, 1, 1)]
    nodes, tensors = [], []
    for index, shape in enumerate([*shapes, (1024, 12544)]):
        weights = rng.standard_normal(shape, np.float32) * np.float32(0.02)
        weights[rng.random(shape, np.float32) < zeros] = 0
        tensors.append(numpy_helper.from_array(weights, f"layer{index}.weight"))
        inputs = [f"x{index}", f"layer{index}.weight"]
        if len(shape) == 4:
            pads = [shape[2] // 2] * 4
            nodes.append(helper.make_node("Conv", inputs, [f"x{index + 1}"], pads=pads))
        else:
            nodes.append(helper.make_node("Flatten", [f"x{index}"], ["flat"]))
            nodes.append(helper.make_node("Gemm", ["flat", inputs[1]], ["y"], transB=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, 512, 7, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def measure_packing(model: ModelProto, zeros: float, values: str, prefer: str) -> tuple[Packing, ModelProto]:
    start, start_cpu = time.perf_counter(), time.process_time()
    packed, reports = pack(normalize(model), values=values, prefer=prefer)  # type: ignore[arg-type]
    seconds = round(time.perf_counter() - start, 3)
    cpu = round(time.process_time() - start_cpu, 3)
    codings: dict[str, int] = {}
    for report in reports:
        codings[report.coding] = codings.get(report.coding, 0) + 1
    worst = max(report.bytes / report.entropy_bytes for report in reports)
    sizes = (model.ByteSize(), packed.ByteSize())
    return Packing(zeros, values, prefer, seconds, cpu, *sizes, round(worst, 4), codings), packed


def load_once(python: str, file: Path) -> dict[str, Any]:
    result = subprocess.run([python, str(LOADER), str(file)], capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return figures


def measure_loading(packing: Packing, dense: Path, packed: Path, python: str, rounds: int) -> Loading:
    turns = [(load_once(python, dense), load_once(python, packed)) for _ in range(rounds)]
    dense_s, packed_s = ([round(turn[side]["load_s"], 4) for turn in turns] for side in (0, 1))
    dense_peak, peak = (max(turn[side]["peak_bytes"] for turn in turns) for side in (0, 1))
    return Loading(
        zeros=packing.zeros,
        values=packing.values,
        prefer=packing.prefer,
        onnxruntime=turns[0][0]["onnxruntime"],
        dense_load_s=dense_s,
        load_s=packed_s,
        load_ratio=round(min(packed_s) / min(dense_s), 3),
        dense_peak_bytes=dense_peak,
        peak_bytes=peak,
        peak_ratio=round(peak / dense_peak, 3),
        bit_equal=len({turn[side]["digest"] for turn in turns for side in (0, 1)}) == 1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="another interpreter to load with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    pythons = [sys.executable, *arguments.python]
    packings: list[Packing] = []
    loadings: list[Loading] = []
    with tempfile.TemporaryDirectory() as folder:
        for zeros in ZEROS:
            model = network(zeros)
            for values in ("fp32", "fp16"):
                for prefer in ("size", "load"):
                    packing, packed = measure_packing(model, zeros, values, prefer)
                    packings.append(packing)
                    print(packing, file=sys.stderr, flush=True)
                    if (zeros, prefer) not in LOADED:
                        continue
                    dense_file, packed_file = Path(folder) / "dense.onnx", Path(folder) / "packed.onnx"
                    save_model(round_values(normalize(model), packing.values), dense_file)  # type: ignore[arg-type]
                    save_model(packed, packed_file)
                    for python in pythons:
                        loading = measure_loading(packing, dense_file, packed_file, python, arguments.rounds)
                        loadings.append(loading)
                        print(loading, file=sys.stderr, flush=True)
    storage.write_json(
        arguments.out,
        {
            "schema": "lth-packing/1",
            "command": "python -m benchmarks.packing",
            "machine": describe_machine().model_dump(mode="json"),
            "versions": versions(),
            "packing": [asdict(packing) for packing in packings],
            "loading": [asdict(loading) for loading in loadings],
        },
    )


if __name__ == "__main__":
    main()
