"""Two builds of the kernel library on the same artifacts: what a change of the kernels gains.

    python -m benchmarks.builds OLD.so NEW.so --artifacts A.onnx B.onnx --size 320 --rounds 40

Sessions take turns, one call a round, and the time is the processor's: other work on the machine disturbs both alike.
A ratio is the median over rounds. Outputs of both builds are compared bit by bit. A build may be given twice, as
`FILE.so=ISA`, to compare instruction sets, or as `FILE.so=ISA:RECORD`, with a record for LTH_TUNING. With --others the
second build runs other artifacts of the same models, such as those that a later compiler made.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime

from benchmarks.networks import feeds_for
from benchmarks.result_file import ratio
from benchmarks.torso import ONE_CALL
from lth_deploy.measure.latency import time_interleaved


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs=2, metavar="FILE[=ISA[:RECORD]]")
    parser.add_argument("--artifacts", nargs="+", type=Path, required=True)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--others", nargs="+", type=Path, help="artifacts of the second build, as many")
    options = parser.parse_args(arguments)
    gains = []
    for path, other in zip(options.artifacts, options.others or options.artifacts, strict=True):
        gain, text = compared((path, other), options.builds, options.size, options.rounds)
        gains.append(gain)
        print(f"{path.parent.name}/{path.name:12} {text}", flush=True)
    print(f"geometric mean x{statistics.geometric_mean(gains):.3f}")
    return 0


def compared(paths: tuple[Path, Path], builds: Sequence[str], size: int, rounds: int) -> tuple[float, str]:
    """How many times as fast the second build is on its artifact, and a line that says so."""
    feeds = feeds_for(paths[0], size, 9)
    sessions = [opened(path, build) for path, build in zip(paths, builds, strict=True)]
    old, new = (session.run(None, feeds) for session in sessions)
    equal = all(np.array_equal(one, other) for one, other in zip(old, new, strict=True))
    runs = {str(i): (lambda _, run=session.run: run(None, feeds)) for i, session in enumerate(sessions)}
    blocks = time_interleaved(runs, replace(ONE_CALL, minimum_rounds=rounds), time.process_time)
    before, after = ([block[0] for block in blocks[name]] for name in runs)
    gain = ratio(before, after)
    times = f"{statistics.median(before):.2f} -> {statistics.median(after):.2f} ms"
    return gain, f"{times}  x{gain:.3f}  {'same bits' if equal else 'OTHER BITS'}"


def opened(path: Path, build: str) -> Any:
    """A session on one thread. build: FILE, FILE=ISA or FILE=ISA:RECORD; ISA may be empty."""
    library, _, kernels = build.partition("=")
    isa, _, record = kernels.partition(":")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.register_custom_ops_library(library)
    with mock.patch.dict(os.environ, LTH_ISA=isa, LTH_TUNING=record):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    sys.exit(main())
