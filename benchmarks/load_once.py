"""Load one ONNX file in this process, run it once, and print times, peak memory and a digest of the outputs.

Needs onnxruntime and numpy only, so that any version of the runtime can be measured with its own interpreter.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    load = time.perf_counter() - start
    peak = peak_bytes()
    feeds = {}
    for value in session.get_inputs():
        shape = [side if isinstance(side, int) else 1 for side in value.shape]
        feeds[value.name] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    start = time.perf_counter()
    outputs = session.run(None, feeds)
    first = time.perf_counter() - start
    digest = hashlib.sha256(b"".join(output.tobytes() for output in outputs)).hexdigest()
    figures = {"load_s": load, "first_s": first, "peak_bytes": peak, "digest": digest}
    print(json.dumps({"onnxruntime": onnxruntime.__version__, **figures}))


if __name__ == "__main__":
    main()
