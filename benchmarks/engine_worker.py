"""An engine in an interpreter of its own: computes images on request, and prints how long each took.

Started by benchmarks/engine_processes.py as `python engine_worker.py ENGINE FILE HEIGHT WIDTH THREADS`, where it needs
numpy and the engine only. A line of input is a seed; a line of output is JSON: wall_s,
processor_s, and sums of the outputs.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]


def deepsparse_engine(path: str, height: int, width: int, threads: int) -> tuple[str, Run]:
    import deepsparse

    engine = deepsparse.Engine(path, batch_size=1, num_cores=threads, input_shapes=f"[1,3,{height},{width}]")
    return deepsparse.__version__, lambda image: engine.run([image])


def stock_onnxruntime(path: str, height: int, width: int, threads: int) -> tuple[str, Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return onnxruntime.__version__, lambda image: session.run(None, {source.name: image})


ENGINES = {"deepsparse": deepsparse_engine, "onnxruntime": stock_onnxruntime}


def main() -> None:
    engine, path, height, width, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    # Engines greet on standard output, which belongs to the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    began = time.perf_counter()
    version, run = ENGINES[engine](path, height, width, threads)
    answers.write(json.dumps({"version": version, "load_s": time.perf_counter() - began}) + "\n")
    for line in sys.stdin:
        image = np.random.default_rng(int(line)).standard_normal((1, 3, height, width)).astype(np.float32)
        processor, wall = time.process_time(), time.perf_counter()
        outputs = run(image)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        sums = [float(np.abs(output, dtype=np.float64).sum()) for output in outputs]
        answers.write(json.dumps({"wall_s": wall, "processor_s": processor, "sums": sums}) + "\n")


if __name__ == "__main__":
    main()
