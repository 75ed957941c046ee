"""The gate of a run's export: the file on disk must find what the trained model finds, and reach its AP."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import GatesSpec
from lth_deploy.detections import Detections
from lth_deploy.errors import ParityError
from lth_deploy.evaluation.coco_ap import evaluate_detections
from lth_deploy.evaluation.coco_rows import CompactDetections, compact
from lth_deploy.measure.parity import ParityLimits, ParityReport, compare_detections
from lth_deploy.progress import Step, progress
from lth_deploy.workflow.gates.quantized_ap import hold_quantized_ap
from lth_deploy.workflow.search.recipe_checks import metric_kinds

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.compiler.artifact.metadata import Quantization
    from lth_deploy.data.records import CocoDataset

Found = dict[int, CompactDetections]


@dataclass(frozen=True)
class GateResult:
    """What was compared: matched detections, and AP of the torch model and of the file on the same images.

    unreached: regions that no image brought anything to, of which nothing is known. not_packed: layers that are stored
    in full, counted for each reason. int8_macs: share of the multiplications whose weight is int8; None where none is.
    """

    parity: ParityReport
    torch_ap: dict[str, Any]
    file_ap: dict[str, Any]
    images: int
    unreached: tuple[str, ...] = ()
    not_packed: Mapping[str, int] = field(default_factory=dict)
    int8_macs: float | None = None


def hold_detections(
    file: Path, reference: "nn.Module", dataset: "CocoDataset", recipe: Recipe, gates: GatesSpec
) -> GateResult:
    """Hold an exported file against the torch model with the same stored weights, on real images.

    Element-wise equality is not asked for: NMS and top-k flip on ties. Boxes are matched instead, in both
    directions, then the AP of both is compared.

    Raises:
        ParityError: too few detections match, or the AP differs; the message names the worst output.
    """
    result = _compared(file, reference, dataset.subset(gates.images), recipe, gates)
    if not result.parity.passed:
        raise ParityError(
            f"{file.name} does not find what the trained model finds on {result.images} images: "
            f"{result.parity.describe()}; nothing was exported"
        )
    _hold_ap(file, result.torch_ap, result.file_ap, gates.ap_difference)
    return result


def hold_quantized_detections(
    file: Path,
    ticket: "nn.Module",
    dataset: "CocoDataset",
    recipe: Recipe,
    gates: GatesSpec,
    quantization: "Quantization",
) -> GateResult:
    """Hold a quantized file against the float ticket by AP on all images: other detections are expected, worse not.

    Raises:
        GateError: more AP is lost than the gates allow; names the layers with the largest errors.
    """
    result = _compared(file, ticket, dataset, recipe, gates)
    hold_quantized_ap(result.torch_ap, result.file_ap, gates.int8_ap_drop, quantization)
    return result


def _compared(
    file: Path, reference: "nn.Module", images: "CocoDataset", recipe: Recipe, gates: GatesSpec
) -> GateResult:
    expected: Found = {}
    got: Found = {}
    limits = parity_limits(gates, recipe.detector.score_threshold)
    with progress(f"{file.name}: comparison with the trained model", total=len(images.images)) as step:
        parity = compare_detections(_pairs(file, reference, images, expected, got, step), limits)
    torch_ap, file_ap = (
        evaluate_detections(images.ground_truth(), found, images.category_ids, metric_kinds(recipe)).metrics
        for found in (expected, got)
    )
    return GateResult(parity, torch_ap, file_ap, len(images.images))


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
    file: Path, reference: "nn.Module", images: "CocoDataset", expected: Found, got: Found, step: Step
) -> Iterator[tuple[str, Detections, Detections]]:
    """Both sides' detections, one image at a time because masks are large; compact forms are kept for the AP."""
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict
    from lth_deploy.workflow.artifact import open_artifact

    artifact = open_artifact(file)
    for record in images.images:
        pixels = read_record(record)
        theirs, ours = predict(reference, [pixels])[0], artifact.predict(pixels)
        expected[record.id], got[record.id] = compact(theirs), compact(ours)
        yield record.file_name, theirs, ours
        step()


def _hold_ap(file: Path, expected: dict[str, Any], got: dict[str, Any], limit: float) -> None:
    for kind, metrics in expected.items():
        ours, theirs = got[kind]["AP"], metrics["AP"]
        if ours is not None and theirs is not None and abs(ours - theirs) > limit:
            raise ParityError(
                f"{file.name}: {kind} AP is {100 * ours:.2f}, that of the trained model {100 * theirs:.2f}; they "
                f"may differ by {100 * limit:.2f}; nothing was exported"
            )
