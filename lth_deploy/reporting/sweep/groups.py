"""The runs of a sweep gathered over their seeds."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lth_deploy.run.sweep_record import Measured, SweepRecord, SweepRun


@dataclass(frozen=True)
class Spread:
    """Mean over seeds; `deviation` is the sample standard deviation, None of a single one."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Group:
    """The runs of a sweep that differ in their seed only."""

    runs: tuple[SweepRun, ...]

    @property
    def first(self) -> SweepRun:
        """Any one of them, for what they have in common."""
        return self.runs[0]

    @property
    def label(self) -> str:
        """Name and the value on every axis."""
        return ", ".join([self.first.name, *self.first.labels.values()])

    def of(self, what: Measured, figure: str) -> Spread | None:
        """A figure of the ticket or a control, over the finished runs; None where there is none."""
        trials = (run.measured(what) for run in self.runs)
        return spread(getattr(trial, figure) for trial in trials if trial is not None)

    def ap(self, what: Measured) -> tuple[Spread, str] | None:
        """AP and the split it was measured on: test where there is one, else val."""
        for split in ("test", "val"):
            found = self.of(what, f"{split}_ap")
            if found is not None:
                return found, split
        return None

    @property
    def state(self) -> str:
        """In words, what the runs are: finished, or how many are, and why the others are not."""
        done = sum(run.state == "finished" for run in self.runs)
        if done == len(self.runs):
            return "finished" if done == 1 else f"{done} finished"
        rest = sorted({run.state for run in self.runs} - {"finished"})
        return f"{done} of {len(self.runs)} finished, {' and '.join(rest)}" if len(self.runs) > 1 else rest[0]


def groups_of(sweep: SweepRecord) -> list[Group]:
    """The runs gathered over seeds, in the order of the sweep."""
    found: dict[tuple[Any, ...], list[SweepRun]] = {}
    for run in sweep.rows:
        found.setdefault((run.name, *run.labels.items()), []).append(run)
    return [Group(tuple(runs)) for runs in found.values()]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample standard deviation of what is there."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return Spread(statistics.fmean(present), statistics.stdev(present) if len(present) > 1 else None, len(present))
