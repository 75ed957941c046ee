"""Load a model and run it in a process of its own.

`python -m lth_deploy.workflow.benchmark.fresh_process MODEL FEEDS ENGINE THREADS` prints the figures as one line of
JSON. It is a module of its own that imports nothing but the engine, so that the peak it reports is the model's.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lth_deploy.measure.memory import FreshProcess, measure_fresh, measure_here, print_measurement
from lth_deploy.processes import end_with_parent, python
from lth_deploy.runtimes import RUNTIMES


def measure_load(model: Path, feeds: Path, engine: str, threads: int) -> FreshProcess:
    """Start a fresh process and measure there; `feeds` is an .npz of the model's inputs.

    Raises:
        ArtifactError: the process fails; the message has its last words.
    """
    arguments = [str(model), str(feeds), engine, str(threads)]
    return measure_fresh(python("-m", "lth_deploy.workflow.benchmark.fresh_process", *arguments))


def main(arguments: list[str]) -> None:
    """Measure in this process and print the figures."""
    model, feeds, engine, threads = arguments
    runtime = RUNTIMES.get(engine)
    runtime.version()
    with np.load(feeds, allow_pickle=False) as stored:
        inputs = {name: stored[name] for name in stored.files}

    def load() -> Callable[[], object]:
        session = runtime.load(Path(model), threads=int(threads))
        return lambda: session.run(inputs)

    print_measurement(measure_here(load))


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1:])
