"""What an analysis holds: the JSON that `analyze` writes, and what its page and plots are drawn from."""

from typing import Any, Literal

from lth_deploy.documents import Count, Figure, Section
from lth_deploy.run.summary import TrialSummary, WeightCounts

ANALYSIS_SCHEMA = "lth-analysis/1"


class SizeRange(Section):
    """Sizes of objects as the square root of their area: in pixels for COCO, else a share of the image's."""

    name: str = ""
    low: float
    high: Figure = None
    objects: Count


class ClassInfo(Section):
    """A class, with its objects in the training split and those that count in the split that was analyzed."""

    name: str
    train_objects: Count
    objects: Count


class Change(Section):
    """AP of a class minus the control's, with its 95 % interval by paired bootstrap over images."""

    value: float
    low: Figure = None
    high: Figure = None


class Cost(Section):
    """How often an error occurs, and the AP50 that repairing it would gain."""

    count: Count
    ap50_gain: Figure = None


class Errors(Section):
    """Errors by type (see `evaluation.error_types`); repaired: AP50 with all of them repaired."""

    types: dict[str, Cost]
    false_positives: Cost
    false_negatives: Cost
    repaired: Figure = None


class TrialFigures(Section):
    """One trial in one kind of AP; lists are in the order of classes and of size ranges."""

    trial: str
    metrics: dict[str, Figure]
    classes: list[Figure]
    classes_at_50: list[Figure]
    changes: list[Change | None]
    coco_sizes: list[Figure]
    relative_sizes: list[Figure]
    errors: Errors | None = None


class KindAnalysis(Section):
    """All trials in one kind of AP: bbox, segm, keypoints, or top1 for accuracy. control: what changes refer to."""

    kind: str
    control: str | None = None
    coco_sizes: list[SizeRange]
    relative_sizes: list[SizeRange]
    trials: list[TrialFigures]

    def of(self, trial: str) -> TrialFigures | None:
        """The figures of one trial."""
        return next((row for row in self.trials if row.trial == trial), None)


class Storage(Section):
    """Bytes of a trial's parameters in one way to store them, or of a file; other: its graph and metadata."""

    trial: str
    name: str
    values: Count
    positions: Count
    dense: Count
    other: Count = 0

    @property
    def whole(self) -> int:
        """All bytes."""
        return self.values + self.positions + self.dense + self.other


class LossCurve(Section):
    """Training loss of a trial, smoothed: at its first and last step, its parts at the end.

    control_reached: the first step at which it was as low as the control's last.
    """

    trial: str
    steps: Count
    first: Figure = None
    last: Figure = None
    parts: dict[str, Figure]
    control_reached: Count | None = None


class RunAnalysis(Section):
    """One run, or several ONNX files on one data set.

    trials: their `layers` are all layers with weights, with how often each weight is multiplied for one image.
    """

    name: str
    detector: str
    source: Literal["run", "files"] = "run"
    recipe_digest: str | None = None
    split: str
    images: Count
    classes: list[ClassInfo]
    parameters: WeightCounts = WeightCounts()
    trials: list[TrialSummary]
    kinds: list[KindAnalysis]
    storage: list[Storage]
    losses: list[LossCurve]
    notes: list[str]


class LayerOverlap(Section):
    """One layer of two masks: weights, those that each keeps, those that both keep."""

    name: str
    elements: Count
    first: Count
    second: Count
    both: Count
    iou: Figure = None
    by_chance: Figure = None


class Overlap(Section):
    """Two masks: IoU of what they keep, and the IoU of random masks that keep as many weights in each layer.

    random: whether one of them is a random control, so that the two figures must be the same.
    """

    first: str
    second: str
    random: bool = False
    iou: Figure = None
    by_chance: Figure = None
    layers: list[LayerOverlap]
    left_out: list[str]


class Analysis(Section):
    """The JSON of `analyze`."""

    when: str = ""
    command: list[str]
    versions: dict[str, str]
    runs: list[RunAnalysis]
    overlaps: list[Overlap]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values of all fields; the trials of an analysis have no parents."""
        return self.model_dump(mode="json", exclude={"runs": {"__all__": {"trials": {"__all__": {"parent"}}}}})
