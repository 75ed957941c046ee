"""The gate of a run's export: the file on disk must find what the trained model finds, and reach its AP."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import GatesSpec
from lth_deploy.detections import Detections
from lth_deploy.errors import ParityError
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.evaluation.coco_rows import CompactDetections, compact
from lth_deploy.measure.parity import ParityLimits, ParityReport, compare_detections
from lth_deploy.progress import Step, progress
from lth_deploy.workflow.evaluate import scores_of
from lth_deploy.workflow.gates.bf16_ap import hold_bf16_ap
from lth_deploy.workflow.gates.regions import library_is_built
from lth_deploy.workflow.search.recipe_checks import metric_kinds

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.data.records import CocoDataset

Found = dict[int, CompactDetections]


@dataclass(frozen=True)
class GateResult:
    """What was compared: matched detections, and scores of the torch model and of the file on the same images.

    unreached: regions that no image brought anything to, of which nothing is known. not_packed: layers that are stored
    in full, counted for each reason. int8_macs: share of the multiplications whose weight is int8; None where none is.
    """

    parity: ParityReport
    torch_scores: Scores
    file_scores: Scores
    images: int
    unreached: tuple[str, ...] = ()
    not_packed: Mapping[str, int] = field(default_factory=dict)
    int8_macs: float | None = None

    @property
    def torch_ap(self) -> Mapping[str, Mapping[str, Any]]:
        """Figures of the torch model by kind."""
        return self.torch_scores.metrics

    @property
    def file_ap(self) -> Mapping[str, Mapping[str, Any]]:
        """Figures of the file by kind."""
        return self.file_scores.metrics


def hold_detections(
    file: Path, reference: "nn.Module", dataset: "CocoDataset", recipe: Recipe, gates: GatesSpec
) -> GateResult:
    """Hold an exported file against the torch model with the same stored weights, on real images.

    Element-wise equality is not asked for: NMS and top-k flip on ties. Boxes are matched instead, in both
    directions, then the AP of both is compared.

    Raises:
        ParityError: too few detections match, or the AP differs; the message names the worst output.
    """
    result = compare_detections_of(file, reference, dataset.subset(gates.images), recipe, gates)
    if not result.parity.passed:
        raise ParityError(
            f"{file.name} does not find what the trained model finds on {result.images} images: "
            f"{result.parity.describe()}; nothing was exported"
        )
    _hold_ap(file, result.torch_scores, result.file_scores, gates.ap_difference)
    return result


def hold_bf16_detections(
    file: Path, reference: "nn.Module", dataset: "CocoDataset", recipe: Recipe, gates: GatesSpec
) -> None:
    """Hold what the kernels of a bf16 file find to the AP of the torch model in float32, on real images.

    Without the kernel library nothing is compared.

    Raises:
        GateError: more AP is lost than the gates allow.
    """
    if not library_is_built(file):
        return
    images = dataset.subset(gates.images)
    result = compare_detections_of(file, reference, images, recipe, gates, paired=True, engine="lth_deploy")
    hold_bf16_ap(result.torch_scores, result.file_scores, gates.bf16_ap_drop)


def compare_detections_of(
    file: Path,
    reference: "nn.Module",
    images: "CocoDataset",
    recipe: Recipe,
    gates: GatesSpec,
    *,
    paired: bool = False,
    engine: str = "onnxruntime",
) -> GateResult:
    """What an exported file finds beside the torch model, and the scores of both.

    paired: to be compared by image. engine: that computes the file.
    """
    expected: Found = {}
    got: Found = {}
    limits = parity_limits(gates, recipe.detector.score_threshold)
    with progress(f"{file.name}: comparison with the trained model", total=len(images.images)) as step:
        parity = compare_detections(_pairs(file, reference, images, expected, got, step, engine), limits)
    theirs, ours = (scores_of(images, found, metric_kinds(recipe), paired=paired) for found in (expected, got))
    return GateResult(parity, theirs, ours, len(images.images))


def parity_limits(gates: GatesSpec, floor: float, *, least: int = 1) -> ParityLimits:
    """The limits of a target's gates. floor: score up to which boxes are noise. least: reference boxes to be found."""
    return ParityLimits(
        score_floor=floor,
        box_iou=gates.iou,
        mask_iou=gates.iou,
        score_difference=gates.score_difference,
        keypoint_pixels=gates.keypoint_pixels,
        matched_share=gates.matched,
        minimum_boxes=least,
    )


def _pairs(
    file: Path,
    reference: "nn.Module",
    images: "CocoDataset",
    expected: Found,
    got: Found,
    step: Step,
    engine: str,
) -> Iterator[tuple[str, Detections, Detections]]:
    """Both sides' detections, one image at a time because masks are large; compact forms are kept for the AP."""
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict
    from lth_deploy.workflow.artifact import open_artifact

    artifact = open_artifact(file, engine=engine)
    for record in images.images:
        pixels = read_record(record)
        theirs, ours = predict(reference, [pixels])[0], artifact.predict(pixels)
        expected[record.id], got[record.id] = compact(theirs), compact(ours)
        yield record.file_name, theirs, ours
        step()


def _hold_ap(file: Path, expected: Scores, got: Scores, limit: float) -> None:
    for kind in expected.metrics:
        ours, theirs = got.ap(kind), expected.ap(kind)
        if ours is not None and theirs is not None and abs(ours - theirs) > limit:
            raise ParityError(
                f"{file.name}: {kind} AP is {100 * ours:.2f}, that of the trained model {100 * theirs:.2f}; they "
                f"may differ by {100 * limit:.2f}; nothing was exported"
            )
