"""How pytest-xdist divides test files among its workers, such that the run ends also after a worker was killed."""

from typing import Any

from xdist.scheduler import LoadFileScheduling


class UntilThereIsWork(LoadFileScheduling):
    """As `--dist loadfile`, but a worker gets files until it has tests to run, or learns that there are no more.

    The scheduler of pytest-xdist (3.8) gives one file at a time, and the next one when a test has ended. A worker
    begins a test once it knows the next one, so one that gets a file with fewer than two tests never reports back.
    That happens when a worker was killed: the files that it had done are given out once more, with no test left in
    them. The run would wait for ever.
    """

    def _reschedule(self, node: Any) -> None:
        enough = 2  # as in the scheduler that this extends
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) <= enough:
            super()._reschedule(node)
