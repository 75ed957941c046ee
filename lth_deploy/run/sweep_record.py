"""The record of a sweep, `sweep.json`: the state of every row, and what the finished runs found."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lth_deploy.documents import Count, Figure, Section, load_document

SWEEP_SCHEMA = "lth-sweep/1"
Measured = Literal["ticket", "int8", "random", "reinit", "dense"]
"""What of a run is compared: its sparsest ticket, that fine-tuned as INT8, a control of it, or the dense control."""


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
    """A ticket with its controls, and what it became in a fine-tuning with fake quantization."""

    int8: SweepTrial | None = None
    random: SweepTrial | None = None
    reinit: SweepTrial | None = None


class EarlyMask(Section):
    """The mask that the dense training has after `step` steps.

    changed: share that differs from the mask before. overlap: intersection over union with the last mask.
    """

    step: Count
    level: Figure = None
    changed: Figure = None
    overlap: Figure = None


class SweepRun(Section):
    """One row of a sweep: a run with its settings, its state, and what it found.

    x: position on the plot. series: the name of its line in the plot. needs: ids of the rows that it
    takes tickets from. seconds: of all calls. error: why it failed. job: its number on a cluster.
    """

    id: str
    name: str = ""
    labels: dict[str, str] = Field({})
    x: Figure = None
    series: str = ""
    shown: bool = True
    seed: Count = 0
    settings: dict[str, Any] = Field({})
    recipe_digest: str | None = None
    needs: list[str] = Field([])
    run: str = ""
    state: str = "waiting"
    error: str | None = None
    exit_code: int | None = None
    seconds: Figure = None
    device: str | None = None
    job: str | None = None
    dense_from: str | None = None
    command: list[str] | None = None
    metric: str | None = None
    dense: SweepTrial | None = None
    tickets: list[SweepTicket] = Field([])
    early_masks: list[EarlyMask] = Field([])

    @property
    def ticket(self) -> SweepTicket | None:
        """The ticket that the sweep compares: the sparsest."""
        return self.tickets[-1] if self.tickets else None

    def measured(self, what: Measured) -> SweepTrial | None:
        """The ticket, as INT8 too, one of its controls, or the dense control of its run."""
        if what == "dense":
            return self.dense
        return self.ticket if what == "ticket" or self.ticket is None else getattr(self.ticket, what)


class SweepRecord(Section):
    """`sweep.json` of a sweep directory. source: the sweep file. x: the axis along which AP is drawn."""

    name: str = ""
    source: str = ""
    finished: bool = False
    x: str | None = None
    rows: list[SweepRun] = Field([])

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"schema": SWEEP_SCHEMA, **super().as_json()}


def load_sweep_record(path: Path) -> tuple[SweepRecord, dict[str, Any]]:
    """A sweep's record, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, SweepRecord, SWEEP_SCHEMA)
