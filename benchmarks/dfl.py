"""The tail of a DFL head in ONNX Runtime: as exporters write it, and as import rewrites it.

    python -m benchmarks.dfl --out benchmarks/results/dfl-CPU.json

The tail is a softmax over bins, and a Conv with one output that takes the mean of the distribution. Both forms run once
in every round, and the order is drawn.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.result_file import head, ratio
from benchmarks.torso import ONE_CALL
from lth_deploy import storage
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.measure.latency import time_interleaved
from lth_deploy.runtimes import RUNTIMES

SCHEMA = "lth-dfl-benchmark/1"


def tail(boxes: int, bins: int) -> ModelProto:
    """[1, 4 * bins, boxes] to [1, 4, boxes], in the operators of exported YOLO heads."""
    weight = np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)
    constants = [
        numpy_helper.from_array(weight, "bins"),
        numpy_helper.from_array(np.array([1, 4, bins, boxes], np.int64), "sides"),
        numpy_helper.from_array(np.array([1, 4, boxes], np.int64), "distances"),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "sides"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["b"], ["c"], axis=1),
        helper.make_node("Conv", ["c", "bins"], ["d"]),
        helper.make_node("Reshape", ["d", "distances"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "dfl",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4 * bins, boxes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, boxes])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--boxes", type=int, default=8400)
    parser.add_argument("--bins", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(arguments)
    about = head(SCHEMA, "benchmarks.dfl")
    exported = tail(options.boxes, options.bins)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 4 * options.bins, options.boxes)).astype(np.float32)}
    with tempfile.TemporaryDirectory(prefix="lth-dfl-") as folder:
        sessions = {}
        for name, model in (("as exported", exported), ("as imported", import_model(exported).normalized.proto)):
            path = Path(folder, f"{name}.onnx")
            onnx.save(model, str(path))
            sessions[name] = RUNTIMES.get("onnxruntime").load(path, threads=1)
    runs = {name: (lambda _, session=session: session.run(feeds)) for name, session in sessions.items()}
    timed = time_interleaved(runs, replace(ONE_CALL, minimum_rounds=options.rounds))
    samples = {name: [statistics.median(block) for block in blocks] for name, blocks in timed.items()}
    equal = np.array_equal(*(session.run(feeds)["y"] for session in sessions.values()))
    result = {
        **about,
        "boxes": options.boxes,
        "bins": options.bins,
        "same_bits": equal,
        "ratio": round(ratio(samples["as exported"], samples["as imported"]), 2),
        "median_ms": {name: round(statistics.median(ms), 3) for name, ms in samples.items()},
        "samples_ms": {name: [round(one, 4) for one in ms] for name, ms in samples.items()},
    }
    print({key: result[key] for key in ("ratio", "median_ms", "same_bits")})
    storage.write_json(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
