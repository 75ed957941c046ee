"""Engines of other interpreters: another version of a runtime, or one that does not fit beside ours."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PROGRAM = Path(__file__).with_name("engine_worker.py")


@dataclass(frozen=True)
class Worker:
    """A process that computes the image of a seed; it ends when its input does. load_s: seconds on the wall."""

    version: str
    load_s: float
    ask: IO[str]
    answers: IO[str]

    def run(self, seed: int) -> dict[str, Any]:
        """wall_s and processor_s of one inference, and `sums`: of the magnitudes of each output."""
        print(seed, file=self.ask, flush=True)
        answer: dict[str, Any] = json.loads(self.answers.readline())
        return answer


def start_worker(python: Path, engine: str, model: Path, size: int, threads: int = 1) -> Worker:
    """Open `model` with `engine` in the interpreter `python`, for images of size x size.

    Raises:
        SystemExit: it could not; its own messages stand on standard error.
    """
    command = [str(python), str(PROGRAM), engine, str(model), str(size), str(size), str(threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    hello = process.stdout.readline() if process.stdout is not None else ""
    if process.stdin is None or process.stdout is None or not hello:
        raise SystemExit(f"{python} could not open {model.name} with {engine}; its messages are above")
    return Worker(**json.loads(hello), ask=process.stdin, answers=process.stdout)
