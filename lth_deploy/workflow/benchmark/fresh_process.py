"""Load a model and run it in a process of its own.

`python -m lth_deploy.workflow.benchmark.fresh_process ARGUMENTS`, where ARGUMENTS is a `LoadSettings` as JSON, prints
the figures as one line of JSON. It is a module of its own that imports nothing but the engine, so that the peak it
reports is the model's.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lth_deploy.measure.memory import FreshProcess, measure_fresh, measure_here, print_measurement
from lth_deploy.processes import end_with_parent, python
from lth_deploy.runtimes import FP32, RUNTIMES


@dataclass(frozen=True)
class LoadSettings:
    """What the process loads, and how; feeds: an .npz of the model's inputs. precision, shapes: see `Runtime.load`."""

    model: str
    feeds: str
    engine: str
    threads: int
    precision: str = FP32
    shapes: Mapping[str, tuple[int, ...]] | None = None


def measure_load(settings: LoadSettings) -> FreshProcess:
    """Start a fresh process and measure there.

    Raises:
        ArtifactError: the process fails; the message has its last words.
    """
    return measure_fresh(python("-m", "lth_deploy.workflow.benchmark.fresh_process", json.dumps(asdict(settings))))


def main(argument: str) -> None:
    """Measure in this process and print the figures."""
    settings = LoadSettings(**json.loads(argument))
    runtime = RUNTIMES.get(settings.engine)
    runtime.version()
    with np.load(settings.feeds, allow_pickle=False) as stored:
        inputs = {name: stored[name] for name in stored.files}

    def load() -> Callable[[], object]:
        session = runtime.load(
            Path(settings.model), threads=settings.threads, precision=settings.precision, shapes=settings.shapes
        )
        return lambda: session.run(inputs)

    print_measurement(measure_here(load))


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1])
