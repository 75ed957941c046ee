"""Rows as jobs of SLURM, by submitit: rows that can run at the same time are one job array.

submitit hands rows to the cluster as pickles, in SWEEP/slurm. A job reads the one that this sweep wrote for it; what it
answers is JSON, and no pickle is ever read here.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from lth_deploy import storage
from lth_deploy.config.sweep_spec import Resources
from lth_deploy.config.validation import Section
from lth_deploy.errors import DataError, MissingExtraError, UsageError
from lth_deploy.processes import keep_working_folder_out
from lth_deploy.workflow.sweep.launchers import single_device
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Job, Launcher, Task
from lth_deploy.workflow.sweep.launchers.submitted_row import SubmittedRow

logger = logging.getLogger(__name__)

FOLDER = "slurm"
LATE = 20.0
"""Seconds that the answer of a job may take to appear on a shared disk after its end."""
_LOST = ("CANCEL", "INTERRUPTED", "OUT_OF_MEMORY", "TIMEOUT", "FAILED", "NODE_FAIL")
_DEFAULT_HOURS = 24.0
_MORE_THAN_ANY_SWEEP = 10_000


class Options(Section):
    """Settings of sbatch, besides the resources of the rows.

    at_once: jobs of an array that run at the same time. restarts: how often a job that reached its time limit is begun
    again; preempted ones always are. more: further options of sbatch, name: value. cluster: local runs the jobs on this
    machine, debug in this process, both without SLURM, to try a sweep.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    setup: list[str] = Field([])
    at_once: Annotated[int, Field(ge=1)] = 256
    restarts: Annotated[int, Field(ge=0)] = 20
    signal_seconds: Annotated[int, Field(ge=40)] = 90
    more: dict[str, str | int | float | bool] = Field({})
    cluster: Literal["slurm", "local", "debug"] = "slurm"


def launcher(out: Path, devices: Sequence[str], jobs: int | None, options: Options) -> Launcher:
    """Job arrays whose logs and rows lie in SWEEP/slurm."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("submitit", "slurm", "--launcher slurm") from error
    made = SlurmLauncher(out.resolve() / FOLDER, single_device(devices, "slurm"), jobs, options)
    if options.cluster == "slurm":
        made.executor(Resources())  # says now that there is no SLURM here
    return made


class SlurmJob:
    """A row as a job of submitit."""

    def __init__(self, job: Any, row: SubmittedRow) -> None:
        self.job, self.row = job, row
        self.number: str | None = str(job.job_id)
        self.place = f"slurm job {self.number}"
        self.arguments = row.task.arguments(row.device)
        self._gone: float | None = None

    def poll(self) -> Ended | None:
        """What the job wrote down; None until it has ended for good."""
        if not self.job.done():
            return None
        self._gone = self._gone or time.monotonic()
        if not self.row.answer.exists() and time.monotonic() < self._gone + LATE and not self._is_lost():
            return None
        return self._ended()

    def interrupt(self) -> None:
        """Cancel the job."""
        with suppress(OSError):
            self.job.cancel(check=False)

    def stop(self) -> Ended:
        """A job that was canceled ends by itself; what it has on disk is whole."""
        deadline = time.monotonic() + LATE
        while not self.row.answer.exists() and not self.job.done() and time.monotonic() < deadline:
            time.sleep(0.2)
        return self._ended() if self.row.answer.exists() else Ended(1)

    def _is_lost(self) -> bool:
        return str(self.job.state).upper().startswith(_LOST)

    def _ended(self) -> Ended:
        try:
            return self.row.read_answer()
        except DataError:
            return Ended(
                1,
                f"{self.place} ended as {self.job.state} without a result; its log is {self.job.paths.stderr}, and "
                "resources in the sweep file give it more memory or time",
            )


class SlurmLauncher:
    """Submits rows; nothing of it runs on this machine but the look at their states."""

    def __init__(self, folder: Path, device: str, jobs: int | None, options: Options) -> None:
        self._folder, self._device, self._jobs, self._options = folder, device, jobs, options

    def room(self, running: Sequence[Job]) -> int:
        """As many rows as can begin, or as --jobs leaves."""
        return (self._jobs or _MORE_THAN_ANY_SWEEP) - len(running)

    def start(self, tasks: Sequence[Task]) -> list[Job]:
        """One job array for all rows that take the same resources."""
        groups: dict[str, list[SubmittedRow]] = {}
        for task in tasks:
            groups.setdefault(repr(task.resources), []).append(self._row(task.absolute()))
        jobs: dict[str, Job] = {}
        for rows in groups.values():
            for row in rows:
                row.answer.unlink(missing_ok=True)
            with _refusals(self._folder):
                executor = self.executor(rows[0].task.resources)
                submitted = executor.submit_array(rows)
            jobs.update({row.task.name: SlurmJob(job, row) for job, row in zip(submitted, rows, strict=True)})
        return [jobs[task.name] for task in tasks]

    def find(self, task: Task, number: str) -> Job | None:
        """A job that the cluster still has."""
        import submitit

        if self._options.cluster != "slurm":
            return None
        job = SlurmJob(submitit.SlurmJob(self._folder / "%j", number), self._row(task.absolute()))
        return job if job.row.answer.exists() or not job.job.done(force_check=True) else None

    def close(self) -> None:
        """Nothing is held."""

    def executor(self, resources: Resources) -> Any:
        """What submits rows with these resources.

        Raises:
            UsageError: there is no SLURM on this machine, or it does not know an option.
        """
        import submitit

        keep_working_folder_out()  # jobs inherit the environment
        options = self._options
        with _refusals(self._folder):
            executor = submitit.AutoExecutor(
                self._folder / "%j", cluster=options.cluster, slurm_max_num_timeout=options.restarts
            )
            hours = resources.hours or _DEFAULT_HOURS
            gpus = resources.gpus if resources.gpus is not None else int(self._device == "cuda")
            executor.update_parameters(
                name=f"lth-{self._folder.parent.name}",
                timeout_min=max(1, round(60 * hours)),
                gpus_per_node=gpus or None,
                cpus_per_task=resources.cpus,
                mem_gb=resources.memory_gb,
                **self._sbatch(),
            )
        return executor

    def _sbatch(self) -> dict[str, Any]:
        options = self._options
        if options.cluster != "slurm":
            return {}
        named = {key: getattr(options, key) for key in ("partition", "account", "qos", "constraint", "exclude")}
        given = {key: value for key, value in named.items() if value is not None}
        return {
            **{f"slurm_{key}": value for key, value in given.items()},
            "slurm_array_parallelism": options.at_once,
            "slurm_signal_delay_s": options.signal_seconds,
            "slurm_additional_parameters": {"requeue": True, **options.more},
            **({"slurm_setup": options.setup} if options.setup else {}),
        }

    def _row(self, task: Task) -> SubmittedRow:
        threads = task.resources.cpus or max(1, len(os.sched_getaffinity(0)) // (self._jobs or 1))
        if self._options.cluster == "slurm":
            threads = task.resources.cpus or 1
        return SubmittedRow(task, self._device, threads, self._folder / f"{task.name}.json")


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """What submitit says of SLURM, as one sentence.

    Raises:
        UsageError: it refused.
        StorageError: the disk refused.
    """
    from submitit.core.utils import FailedSubmissionError

    try:
        with storage.disk_errors(f"cannot write the jobs into {folder}"):
            yield
    except FailedSubmissionError as error:
        raise UsageError(f"SLURM took no job: {_last_line(error)}; correct --launcher-option and resume") from error
    except (RuntimeError, NameError, ValueError, AssertionError) as error:
        if "srun" in str(error):
            raise UsageError(
                "--launcher slurm: this machine has no command srun; run it where jobs are submitted, or try the sweep "
                "here with --launcher-option cluster=local"
            ) from error
        raise UsageError(f"--launcher slurm: submitit refused: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
