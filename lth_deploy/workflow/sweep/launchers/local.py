"""Rows as processes of this machine, each on a device of its own, with its share of the threads."""

from collections.abc import Sequence
from pathlib import Path

from lth_deploy.config.validation import Section
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Job, Launcher, Task
from lth_deploy.workflow.sweep.processes import Process, Slot, slots_of
from lth_deploy.workflow.sweep.starts import note_start


class Options(Section):
    """It has none."""


def launcher(out: Path, devices: Sequence[str], jobs: int | None, options: Options) -> Launcher:
    """One process a device, or `jobs` of them over the devices in turn."""
    return LocalLauncher(slots_of(devices, jobs))


class LocalJob:
    """A process of this machine."""

    number: str | None = None

    def __init__(self, process: Process) -> None:
        self.process, self.place, self.arguments = process, process.slot.name, process.arguments

    def poll(self) -> Ended | None:
        """How it ended."""
        return self.process.ended()

    def interrupt(self) -> None:
        """Ask it and what it started to end."""
        self.process.interrupt()

    def stop(self) -> Ended:
        """Wait for its end."""
        return self.process.stop()


class LocalLauncher:
    """Slots for processes. They end with this one, so none is found again."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = slots

    def room(self, running: Sequence[Job]) -> int:
        """The free slots."""
        return len(self._free(running))

    def start(self, tasks: Sequence[Task]) -> list[Job]:
        """One process in each free slot."""
        jobs: list[Job] = []
        for task, slot in zip(tasks, self._free(self._running), strict=False):
            note_start(task.start_file)
            jobs.append(LocalJob(Process(task.name, slot, task.arguments(slot.device), task.program)))
        self._running = [*self._running, *jobs]
        return jobs

    def find(self, task: Task, number: str) -> Job | None:
        """None."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    _running: Sequence[Job] = ()

    def _free(self, running: Sequence[Job]) -> list[Slot]:
        self._running = list(running)
        taken = [job.process.slot for job in running if isinstance(job, LocalJob)]
        return [slot for slot in self._slots if not any(slot is other for other in taken)]
