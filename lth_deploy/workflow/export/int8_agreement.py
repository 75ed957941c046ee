"""What int8 finds of what the dense model finds, on the calibration images: said where there are no annotations."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from lth_deploy.data.images import read_image
from lth_deploy.detections import Detections
from lth_deploy.measure.agreement import Agreement, agreement
from lth_deploy.progress import progress
from lth_deploy.workflow.artifact import open_artifact

log = logging.getLogger(__name__)


def compared(dense: Path, int8: Path, images: list[Path], decoder: str | None) -> Agreement:
    """The detections of an int8 file beside those of its dense control, in the stock runtime; logs what is poor.

    decoder: as on the command line; None for what the files say.

    Raises:
        ArtifactError: a file does not run, or its decoder cannot read what it returns.
    """
    found = agreement(_pairs(dense, int8, images, decoder))
    if not found.reference:
        log.warning(
            "%s, so nothing is known of what int8 costs; calibrate on images with objects, or give annotations "
            "(--data ANN.json --images DIR)",
            found.describe(),
        )
    elif found.poor:
        log.warning(
            "int8 finds much else than the dense model on %d calibration images: %s; measure its AP (--data ANN.json "
            "--images DIR), and keep layers float or prune less if it is low",
            found.images,
            found.describe(),
        )
    return found


def _pairs(
    dense: Path, int8: Path, images: Iterable[Path], decoder: str | None
) -> Iterator[tuple[Detections, Detections]]:
    files = [*images]
    reference, candidate = (open_artifact(file, decoder=decoder) for file in (dense, int8))
    with progress("detections of int8 beside the dense model", total=len(files)) as step:
        for file in files:
            pixels = read_image(file)
            yield reference.predict(pixels), candidate.predict(pixels)
            step()
