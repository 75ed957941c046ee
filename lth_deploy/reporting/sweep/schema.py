"""The record of a sweep as a report reads it, and its runs gathered over their seeds."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lth_deploy.reporting.documents import Count, Figure, Section, load_document

SWEEP_SCHEMA = "lth-sweep/1"
Measured = Literal["ticket", "random", "reinit", "dense"]


class SweepTrial(Section):
    """The headline figures of one training of a run."""

    trial: str
    sparsity: Figure = None
    sparsity_prunable: Figure = None
    sparsity_all: Figure = None
    zero_macs: Figure = None
    val_ap: Figure = None
    test_ap: Figure = None
    seconds: Figure = None
    hardware: str = ""


class SweepTicket(SweepTrial):
    """A ticket with its controls."""

    random: SweepTrial | None = None
    reinit: SweepTrial | None = None


class EarlyMask(Section):
    """How the mask after `step` steps of the dense training differs from the one before and from the last."""

    step: Count
    level: Figure = None
    changed: Figure = None
    overlap: Figure = None


class SweepRun(Section):
    """One row of a sweep: a run with its settings, its state, and what it found."""

    id: str
    name: str = ""
    labels: dict[str, str] = Field({})
    x: Figure = None
    series: str = ""
    shown: bool = True
    seed: Count = 0
    run: str = ""
    state: str = "waiting"
    error: str | None = None
    seconds: Figure = None
    metric: str | None = None
    dense: SweepTrial | None = None
    tickets: list[SweepTicket] = Field([])
    early_masks: list[EarlyMask] = Field([])

    @property
    def ticket(self) -> SweepTicket | None:
        """The ticket that the sweep compares: the sparsest."""
        return self.tickets[-1] if self.tickets else None

    def measured(self, what: Measured) -> SweepTrial | None:
        """The ticket, one of its controls, or the dense control of its run."""
        if what == "dense":
            return self.dense
        return self.ticket if what == "ticket" or self.ticket is None else getattr(self.ticket, what)


class SweepSummary(Section):
    """`sweep.json` of a sweep directory."""

    name: str = ""
    finished: bool = False
    x: str | None = None
    rows: list[SweepRun] = Field([])


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


def groups_of(sweep: SweepSummary) -> list[Group]:
    """The runs gathered over seeds, in the order of the sweep."""
    found: dict[tuple[Any, ...], list[SweepRun]] = {}
    for run in sweep.rows:
        found.setdefault((run.name, *run.labels.items()), []).append(run)
    return [Group(tuple(runs)) for runs in found.values()]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample standard deviation of what is there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def load_sweep_record(path: Path) -> tuple[SweepSummary, dict[str, Any]]:
    """A sweep's record, checked, and the same as clean JSON data.

    Raises:
        DataError: not JSON, another schema, or a value of the wrong type, with its place.
    """
    return load_document(path, SweepSummary, SWEEP_SCHEMA)
