"""The work of one call of `sweep`: which rows begin when, on whatever launcher, and what is recorded of them."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config.sweep_spec import Sweep
from lth_deploy.errors import StorageError
from lth_deploy.progress import Step
from lth_deploy.run.remote.sweep_mirror import INITIAL, RUNS
from lth_deploy.run.sweep_record import SweepRecord
from lth_deploy.workflow.report import write_sweep_pages
from lth_deploy.workflow.search.shared_dense import dense_key
from lth_deploy.workflow.sweep import processes
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Job, Launcher, Task
from lth_deploy.workflow.sweep.order import block, next_row
from lth_deploy.workflow.sweep.place import SweepPlace
from lth_deploy.workflow.sweep.record import Progress, dense_is_finished, summary_of, write_record
from lth_deploy.workflow.sweep.rows import SweepRow
from lth_deploy.workflow.sweep.starts import forget_start, start_file

logger = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two looks at the jobs."""

GLANCE = 5.0
"""Seconds between two looks at what running rows have written to a store."""

INTERRUPTED = 130
"""Exit code of a search that was asked to end."""


@dataclass(frozen=True)
class Work:
    """The rows of one call and where they are."""

    plan: Sweep
    place: SweepPlace
    rows: list[SweepRow]
    chosen: set[str]
    progress: dict[str, Progress]
    deadline: float | None

    def record(self) -> SweepRecord:
        """Write the record."""
        return write_record(self.place.local, self.plan, self.rows, self.progress)

    def publish(self) -> SweepRecord:
        """Write the record with its plot and page, which show a half-finished sweep too."""
        record = self.record()
        write_sweep_pages(self.place.local)
        return record

    def run(self, launcher: Launcher, step: Step) -> None:
        """Keep the launcher busy until nothing is left that can run."""
        keys = {row.id: dense_key(row.recipe) for row in self.rows}
        running = self._still_running(launcher)
        looked = time.monotonic()
        try:
            while True:
                self._begin(launcher, keys, running)
                if not running:
                    return
                time.sleep(POLL)
                if time.monotonic() - looked >= GLANCE:
                    self.place.glance([row.id for row in self.rows if row.id in running and not dense_is_finished(row)])
                    looked = time.monotonic()
                for name, job in list(running.items()):
                    ended = job.poll()
                    if ended is not None:
                        del running[name]
                        self._record_end(name, ended)
                        step(detail=f"{name}: {self.progress[name].state}")
        except BaseException:
            self._stop(running)
            raise

    def _still_running(self, launcher: Launcher) -> dict[str, Job]:
        """Rows that an earlier call began and that a cluster has not ended."""
        found: dict[str, Job] = {}
        for row in self.rows:
            one = self.progress[row.id]
            number, one.job = one.job, None
            job = launcher.find(self._task(row, None), number) if number and one.state == "waiting" else None
            if job is not None:
                found[row.id], one.state, one.job = job, "running", number
                logger.info("%s: still runs as %s", row.id, job.place)
        return found

    def _begin(self, launcher: Launcher, keys: dict[str, str], running: dict[str, Job]) -> None:
        """Begin as many rows as can run now; a launcher gets them together."""
        begun: list[tuple[SweepRow, Task]] = []
        try:
            for row, dense in self._ready(keys, launcher.room(list(running.values()))):
                begun.append((row, self._task(row, dense)))
                forget_start(begun[-1][1].start_file)
            if begun:
                self.place.publish()
            jobs = launcher.start([task for _, task in begun])
        except BaseException:
            for row, _ in begun:
                self.progress[row.id].state = "waiting"
            raise
        for (row, _), job in zip(begun, jobs, strict=True):
            running[row.id] = job
            one = self.progress[row.id]
            one.device, one.job, one.command = job.place, job.number, ["lth-deploy", *job.arguments]
            logger.info("%s: begins on %s", row.id, job.place)
        if begun:
            self.place.glance([])
            self.record()
            with suppress(StorageError):  # the thread that copies says it, and tries again
                self.place.publish()

    def _ready(self, keys: dict[str, str], room: int) -> Iterator[tuple[SweepRow, SweepRow | None]]:
        """Rows that can run now, which count as running from here on, and the rows whose dense trainings they take."""
        while room > 0 and not (self.deadline is not None and time.monotonic() >= self.deadline):
            found = next_row(self.rows, self.chosen, self.progress, lambda row: keys[row.id], dense_is_finished)
            if found is None:
                return
            self.progress[found[0].id].state = "running"
            room -= 1
            yield found

    def _task(self, row: SweepRow, dense: SweepRow | None) -> Task:
        recipe = ("recipes", f"{row.id}.yaml")
        storage.write_text(self.place.local.joinpath(*recipe), row.recipe.to_yaml())
        one = self.progress[row.id]
        one.dense_from = dense.id if dense else one.dense_from
        return Task(
            name=row.id,
            recipe=self.place.of(*recipe),
            run=self.place.of(RUNS, row.id),
            start_file=start_file(self.place.name, row.id),
            resources=row.resources,
            program=processes.PROGRAM,
            dense_from=self.place.of(RUNS, dense.id) if dense else None,
            seconds_left=None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0),
            brought=self._brought(),
        )

    def _brought(self) -> tuple[str, Path] | None:
        """The first weights that a smoke has drawn, which recipes name by their path."""
        folder = self.place.local / INITIAL
        return (self.place.of(INITIAL), folder) if self.place.mirror and folder.exists() else None

    def _record_end(self, name: str, ended: Ended) -> None:
        self.place.look([name])
        row = next(row for row in self.rows if row.id == name)
        one = self.progress[name]
        one.seconds += ended.seconds
        one.exit_code, one.job = ended.code, None
        if ended.code in (0, INTERRUPTED):
            one.state = "finished" if summary_of(row) else "unfinished"
        else:
            one.state, one.error = "failed", ended.error
            logger.error("%s failed: %s", name, one.error)
        block(self.rows, self.progress)
        self.publish()
        done = finished_rows(self.rows, self.progress)
        logger.info(
            "%s: %s after %.0f s; %d of %d runs are finished", name, one.state, one.seconds, done, len(self.rows)
        )

    def _stop(self, running: dict[str, Job]) -> None:
        """End all jobs, and say that their rows are to be gone on with."""
        for job in running.values():
            job.interrupt()
        for name, job in running.items():
            ended = job.stop()
            self.progress[name].state, self.progress[name].job = "unfinished", None
            self.progress[name].seconds += ended.seconds
        if running:
            self.publish()


def finished_rows(rows: Sequence[SweepRow], progress: dict[str, Progress]) -> int:
    """How many of the rows are finished."""
    return sum(progress[row.id].state == "finished" for row in rows)
