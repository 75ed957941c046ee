"""A DeepSparse engine in an interpreter of its own: runs the pictures that it is asked for, says how long each took.

Started by benchmarks/deepsparse_peer.py as `python deepsparse_worker.py FILE HEIGHT WIDTH THREADS`. It needs deepsparse
and numpy only. A line in is a seed, a line out is JSON: seconds of wall and processor, and sums of the outputs.
"""

import json
import os
import sys
import time

import deepsparse
import numpy as np


def main() -> None:
    path, height, width, threads = sys.argv[1], *map(int, sys.argv[2:5])
    # The engine greets on standard output, which belongs to the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = deepsparse.Engine(path, batch_size=1, num_cores=threads, input_shapes=f"[1,3,{height},{width}]")
    answers.write(json.dumps({"version": deepsparse.__version__}) + "\n")
    for line in sys.stdin:
        image = np.random.default_rng(int(line)).standard_normal((1, 3, height, width)).astype(np.float32)
        processor, wall = time.process_time(), time.perf_counter()
        outputs = engine.run([image])
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        sums = [float(np.abs(output, dtype=np.float64).sum()) for output in outputs]
        answers.write(json.dumps({"wall_s": wall, "processor_s": processor, "sums": sums}) + "\n")


if __name__ == "__main__":
    main()
