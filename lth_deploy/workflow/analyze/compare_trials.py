"""Detections of several trials on one data set, compared class by class, size by size and error by error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import DataError
from lth_deploy.evaluation.accuracy import correct, paired_accuracy
from lth_deploy.evaluation.bootstrap import difference_interval
from lth_deploy.evaluation.breakdown import Breakdown, SizeFigures, break_down
from lth_deploy.evaluation.error_types import ErrorCost, ErrorReport
from lth_deploy.reporting.analysis.schema import Change, Cost, Errors, KindAnalysis, SizeRange, TrialFigures
from lth_deploy.workflow.analyze.detection_cache import Found
from lth_deploy.workflow.search.top1 import true_labels

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

NO_BOXES = "a classifier has no boxes: AP by object size and errors by type are left out"


@dataclass(frozen=True)
class Comparison:
    """What trials are compared on. control: the trial that changes refer to, None where there is none.

    samples, seed: of the bootstrap over images.
    """

    dataset: "CocoDataset"
    control: str | None
    samples: int
    seed: int

    def kind(self, kind: str, found: Mapping[str, Found]) -> KindAnalysis:
        """All trials, by name, in one kind of AP or in accuracy ('top1').

        Raises:
            DataError: a detection that has no meaning; see `evaluate_detections`.
        """
        return self._accuracy(found) if kind == "top1" else self._ap(kind, found)

    def _ap(self, kind: str, found: Mapping[str, Found]) -> KindAnalysis:
        truth, ids = self.dataset.ground_truth(), self.dataset.category_ids
        broken = {name: break_down(truth, one, ids, kind) for name, one in found.items()}
        # Labels follow the file's order of categories, pycocotools that of their ids.
        order = [sorted(ids).index(category) for category in ids]
        some = next(iter(broken.values()))
        drawn = {name: self._drawn_classes(one) for name, one in broken.items()}
        return KindAnalysis(
            kind=kind,
            control=self.control,
            coco_sizes=_ranges(some.coco_sizes),
            relative_sizes=_ranges(some.relative_sizes),
            trials=[
                TrialFigures(
                    trial=name,
                    metrics=one.metrics,
                    classes=[one.classes[position].ap for position in order],
                    classes_at_50=[one.classes[position].ap50 for position in order],
                    changes=self._changes(name, broken, drawn, order),
                    coco_sizes=[size.ap for size in one.coco_sizes],
                    relative_sizes=[size.ap for size in one.relative_sizes],
                    errors=_errors(one.errors),
                )
                for name, one in broken.items()
            ],
        )

    def _drawn_classes(self, one: Breakdown) -> list[npt.NDArray[np.float64]]:
        """AP of each class over the same draws of images."""
        if self.control is None:
            return []
        weights = one.matches.draws(self.samples, self.seed)
        return [one.matches.of_category(position).average_precision(weights) for position in range(len(one.classes))]

    def _changes(
        self,
        name: str,
        broken: Mapping[str, Breakdown],
        drawn: Mapping[str, list[npt.NDArray[np.float64]]],
        order: Sequence[int],
    ) -> list[Change | None]:
        if self.control is None or name == self.control:
            return []
        found: list[Change | None] = []
        for position in order:
            own, base = (broken[one].classes[position].ap for one in (name, self.control))
            if own is None or base is None:
                found.append(None)
                continue
            interval = difference_interval(drawn[name][position], drawn[self.control][position])
            found.append(Change(value=own - base, low=interval.low, high=interval.high))
        return found

    def _accuracy(self, found: Mapping[str, Found]) -> KindAnalysis:
        truth = true_labels(self.dataset)
        answers = {
            name: {image: list(detections.labels) for image, detections in one.items()} for name, one in found.items()
        }
        right = {name: correct(truth, one, 1) for name, one in answers.items()}
        label = np.array(list(truth.values()))
        classes = [label == number for number in range(1, len(self.dataset.categories) + 1)]
        trials = []
        for name, hits in right.items():
            among_five = correct(truth, answers[name], 5)
            trials.append(
                TrialFigures(
                    trial=name,
                    metrics={"AP": float(hits.mean()), "top5": float(among_five.mean())},
                    classes=[float(hits[members].mean()) if members.any() else None for members in classes],
                    classes_at_50=[],
                    changes=self._accuracy_changes(name, right, classes),
                    coco_sizes=[],
                    relative_sizes=[],
                )
            )
        return KindAnalysis(kind="top1", control=self.control, coco_sizes=[], relative_sizes=[], trials=trials)

    def _accuracy_changes(
        self, name: str, right: Mapping[str, npt.NDArray[np.bool_]], classes: Sequence[npt.NDArray[np.bool_]]
    ) -> list[Change | None]:
        if self.control is None or name == self.control:
            return []
        found: list[Change | None] = []
        for members in classes:
            own, base = right[name][members], right[self.control][members]
            if not len(own):
                found.append(None)
                continue
            interval = paired_accuracy(own, base, self.samples, self.seed)
            found.append(Change(value=float(own.mean() - base.mean()), low=interval.low, high=interval.high))
        return found


def count_objects(dataset: "CocoDataset") -> list[int]:
    """Objects that count of each class, in the order of labels."""
    counts = [0] * len(dataset.categories)
    for record in dataset.images:
        for annotation in dataset.annotations[record.id]:
            counts[dataset.labels[annotation.category_id] - 1] += not annotation.iscrowd
    return counts


def require_objects(dataset: "CocoDataset", what: str) -> None:
    """Refuse a data set on which nothing can be analyzed; `what` names it.

    Raises:
        DataError: it has no image, or no object.
    """
    objects = sum(count_objects(dataset))
    if not dataset.images or not objects:
        raise DataError(
            f"{what} has {len(dataset.images)} images and {objects} objects: there is nothing to find in it; "
            "choose another with --split, or annotate some"
        )


def _ranges(sizes: Sequence[SizeFigures]) -> list[SizeRange]:
    return [SizeRange(name=one.name, low=one.low, high=one.high, objects=one.objects) for one in sizes]


def _errors(report: ErrorReport) -> Errors:
    return Errors(
        types={name: _cost(one) for name, one in report.types.items()},
        false_positives=_cost(report.false_positives),
        false_negatives=_cost(report.false_negatives),
        repaired=report.repaired,
    )


def _cost(one: ErrorCost) -> Cost:
    return Cost(count=one.count, ap50_gain=one.cost)
