"""The summary of a run, `summary.json`: what a search found, for `report`, `export`, `inspect` and sweeps."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from lth_deploy.documents import Count, Figure, Section, load_document
from lth_deploy.run.trial_result import TrialFigures

RUN_SCHEMA = "lth-run/1"


class LayerSummary(Section):
    """One weight tensor of a trial. positions: multiplications of each weight for one image."""

    name: str
    group: str = "other"
    shape: list[int] = Field([])
    elements: Count
    zeros: Count
    positions: Figure = None

    @model_validator(mode="after")
    def _zeros_are_weights(self) -> Self:
        if self.zeros > self.elements:
            raise ValueError(f"{self.zeros} zeros in {self.elements} weights")
        return self


class PartSummary(Section):
    """One part of the network: its weights, those that may be pruned, and those that are zero.

    paper: the name of the part in table 3 of Girish et al. 2021.
    """

    name: str
    paper: str = ""
    weights: Count
    prunable: Count = 0
    zeros: Count = 0


class TrialSummary(TrialFigures):
    """One trial with its accounting. steps: how many. losses: pairs of step and loss, thinned."""

    steps: Count | None = None
    sparsity_all: Figure = None
    parts: list[PartSummary] = Field([])
    layers: list[LayerSummary] = Field([])
    losses: list[tuple[Count, Figure]] = Field([])


class Winner(Section):
    """The sparsest ticket within the tolerance.

    interval: 95 % interval of its AP minus that of the dense control, on `interval_split`.
    """

    trial: str
    control: str | None = None
    tolerance: Figure = None
    metric: str | None = None
    val_ap: Figure = None
    dense_val_ap: Figure = None
    test_ap: Figure = None
    dense_test_ap: Figure = None
    interval_split: str = "test"
    interval: tuple[Figure, Figure] | None = None


class ExampleImage(Section):
    """An image in the run directory; the path is relative to it."""

    title: str = ""
    path: str


class DatasetSummary(Section):
    """Names of the classes, and sizes of the splits in images."""

    classes: list[str] = Field([])
    train: Count | None = None
    val: Count | None = None
    test: Count | None = None


class WeightCounts(Section):
    """Numbers of weights of a network."""

    total: Count | None = None
    prunable: Count | None = None


class RunSummary(Section):
    """`summary.json` of a run directory. pictures: example images with detections."""

    recipe: dict[str, Any] = Field({})
    recipe_digest: str | None = None
    finished: bool = False
    versions: dict[str, Any] = Field({})
    dataset: DatasetSummary = DatasetSummary()
    parameters: WeightCounts = WeightCounts()
    trials: list[TrialSummary] = Field([])
    notes: list[str] = Field([])
    winner: Winner | None = None
    pictures: list[ExampleImage] = Field([])
    command: str | list[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"schema": RUN_SCHEMA, **super().as_json()}

    @property
    def kinds(self) -> list[str]:
        """Kinds of AP that were measured, boxes first."""
        found = {kind for trial in self.trials for split in (trial.val, trial.test) for kind in split or {}}
        return sorted(found, key=lambda kind: (kind != "bbox", kind != "segm", kind))

    @property
    def selection(self) -> dict[str, Any]:
        """The recipe's rule for choosing the winner."""
        section = self.recipe.get("selection")
        return section if isinstance(section, dict) else {}

    @property
    def main_kind(self) -> str:
        """The kind of AP that the winner is chosen by."""
        chosen = self.selection.get("metric")
        return chosen if chosen in self.kinds else next(iter(self.kinds), "bbox")

    @property
    def tolerance(self) -> float | None:
        """How much AP, as a fraction, a winner may lose on val; None when neither winner nor recipe says."""
        stated = self.winner.tolerance if self.winner else self.selection.get("tolerance")
        return float(stated) if isinstance(stated, int | float) and 0 <= stated <= 1 else None

    @property
    def control(self) -> TrialSummary | None:
        """The dense trial that tickets are compared with: the named one, else the one trained as long as they are."""
        named = self.trial(self.winner.control) if self.winner and self.winner.control else None
        dense = [trial for kind in ("dense_control", "dense") for trial in reversed(self.trials) if trial.kind == kind]
        return named or next(iter(dense), None)

    def trial(self, name: str) -> TrialSummary | None:
        """The trial called `name`."""
        return next((trial for trial in self.trials if trial.name == name), None)

    def of_kind(self, kind: str) -> list[TrialSummary]:
        """The trials of one kind, sparsest last."""
        return sorted((trial for trial in self.trials if trial.kind == kind), key=lambda trial: trial.zeros)


def load_run(path: Path) -> tuple[RunSummary, dict[str, Any]]:
    """A run summary, checked, and the same as clean JSON data; see `load_document` for what is raised."""
    return load_document(path, RunSummary, RUN_SCHEMA)
