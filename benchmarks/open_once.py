"""Open one ONNX file in this process with an engine, run it once, and print processor time and peak memory."""

import json
import sys
import time
from pathlib import Path

import numpy as np

from lth_deploy.measure.memory import peak_rss_bytes
from lth_deploy.runtimes import RUNTIMES


def main() -> None:
    engine, path, source, size = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    runtime = RUNTIMES.get(engine)
    picture = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    began = time.process_time()
    session = runtime.load(path, threads=1)
    load_s = time.process_time() - began
    session.run({source: picture})
    print(json.dumps({"load_s": load_s, "peak_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
