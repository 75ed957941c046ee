"""The gate of another form: what is exported of a detector finds what the trained one finds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe
from lth_deploy.config.target import GatesSpec
from lth_deploy.detections import Detections
from lth_deploy.errors import ParityError
from lth_deploy.measure.parity import compare_detections
from lth_deploy.workflow.gates.detections import parity_limits

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.data.records import CocoDataset

IMAGES = 8
"""At most so many images are compared: both are networks in torch, before anything is rounded."""


def hold_deployed(
    trained: "nn.Module", deployed: "nn.Module", dataset: "CocoDataset", recipe: Recipe, gates: GatesSpec
) -> None:
    """Hold the form of a detector that is exported to the trained one, on real images.

    Raises:
        ParityError: too few detections match; the message names the worst output.
    """
    images = dataset.subset(IMAGES)
    report = compare_detections(
        _pairs(trained, deployed, images), parity_limits(gates, recipe.detector.score_threshold, least=0)
    )
    if not report.passed:
        raise ParityError(
            f"the form of {recipe.detector.name} that is exported does not find what the trained one finds on "
            f"{len(images.images)} images: {report.describe()}; nothing was exported"
        )


def _pairs(
    trained: "nn.Module", deployed: "nn.Module", images: "CocoDataset"
) -> Iterator[tuple[str, Detections, Detections]]:
    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import predict

    for record in images.images:
        pixels = read_record(record)
        yield record.file_name, predict(trained, [pixels])[0], predict(deployed, [pixels])[0]
