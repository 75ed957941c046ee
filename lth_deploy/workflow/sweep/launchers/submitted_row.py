"""A row as submitit sends it to a node: it runs, writes down how it ended, and begins again after a preemption."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Task
from lth_deploy.workflow.sweep.launchers.remote_row import run_row
from lth_deploy.workflow.sweep.processes import Process
from lth_deploy.workflow.sweep.starts import forget_start


@dataclass(frozen=True)
class SubmittedRow:
    """A task with the file that gets its answer. device, threads: what the row gets of its node."""

    task: Task
    device: str
    threads: int
    answer: Path

    _running: ClassVar[list[Process]] = []
    """The process that runs on this node; no part of what is sent."""

    def __call__(self) -> int:
        """Run the row to its end; its exit code."""
        ended = run_row(self.task, self.device, self.threads, self._running.append)
        storage.write_json(self.answer, asdict(ended))
        return ended.code

    def checkpoint(self) -> Any:
        """End the row at a checkpoint because its node is taken away, and hand it in again."""
        from submitit.helpers import DelayedSubmission

        for process in self._running:
            process.save_and_end()
        forget_start(self.task.start_file)
        return DelayedSubmission(self)

    def read_answer(self) -> Ended:
        """How the row ended.

        Raises:
            DataError: it has not written it down.
        """
        value = storage.read_json(self.answer)
        try:
            error = value["error"]
            return Ended(int(value["code"]), None if error is None else str(error), float(value["seconds"]))
        except (TypeError, KeyError, ValueError) as wrong:
            raise DataError(f"{self.answer} is no answer of a row: {wrong!r}; remove it") from wrong
