"""The verb `predict`: images with detections, and the detections as JSON."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lth_deploy import storage
from lth_deploy.detections import Detections
from lth_deploy.errors import ArtifactError, UsageError
from lth_deploy.workflow.artifact import Artifact, open_artifact

log = logging.getLogger(__name__)

RESULTS = "detections.json"


@dataclass(frozen=True)
class Prediction:
    """One image: where it came from, the image that was drawn, and what was found, at any score."""

    image: Path
    picture: Path
    detections: Detections


def predict(
    artifact: Path,
    images: Sequence[Path],
    out: Path,
    *,
    threshold: float = 0.5,
    engine: str = "onnxruntime",
    threads: int = 0,
    decoder: str | None = None,
    verify: bool = False,
) -> list[Prediction]:
    """Draw what scores at least `threshold` into OUT/NAME.png; everything goes to OUT/detections.json.

    verify: refuse a file that is not the one that the gates of its export passed.

    Raises:
        UsageError: no images, a threshold outside 0..1, unknown engine or decoder.
        DataError: an image cannot be read. The images before it stay.
        ArtifactError: a damaged or unsupported file.
    """
    check_arguments(images, threshold)
    opened = open_artifact(artifact, engine=engine, threads=threads, decoder=decoder, verify=verify)
    with output_folder(out):
        return drawn(opened, images, out, threshold)


def check_arguments(images: Sequence[Path], threshold: float) -> None:
    """Refuse what cannot work before anything is read.

    Raises:
        UsageError: no images, or a threshold outside 0..1.
    """
    if not images:
        raise UsageError("predict: no images given; name one or more image files")
    if not 0.0 <= threshold <= 1.0:
        raise UsageError(f"predict: threshold {threshold} is no score; give one in 0..1")


@contextlib.contextmanager
def output_folder(out: Path) -> Iterator[None]:
    """Lock the folder `out`, and make it where it is missing; where nothing was written, it is as it was.

    Raises:
        StorageError: another process works in it, or the disk refuses.
    """
    was_there = out.exists()
    with storage.locked(out):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                storage.remove_stale_temporaries(out, below=False)  # of a child that was stopped
                storage.remove_empty_locked(out, keep=was_there)


def drawn(opened: Artifact, images: Sequence[Path], out: Path, threshold: float) -> list[Prediction]:
    """`predict` with a model that is open, into a folder that is locked; see there for what is raised."""
    from lth_deploy.data.images import read_image
    from lth_deploy.reporting.drawing.detections import draw, encode_png

    names = opened.file.class_names
    predictions = []
    for image, picture in zip(images, _picture_paths(images, out), strict=True):
        pixels = read_image(image)
        detections = opened.predict(pixels)
        _check_figures(detections, opened.file.path, image)
        storage.write_bytes(picture, encode_png(draw(pixels, detections, names, threshold)))
        predictions.append(Prediction(image, picture, detections))
        log.info("%s: %d objects", image, len(detections.above(threshold)))
    storage.write_json(out / RESULTS, [_as_data(prediction, names) for prediction in predictions])
    log.info("%s", _summary(predictions, threshold))
    return predictions


def _summary(predictions: Sequence[Prediction], threshold: float) -> str:
    """How many detections were drawn, and the scores of those that were not."""
    scores = np.concatenate([prediction.detections.scores for prediction in predictions])
    drawn_ones = scores >= threshold
    text = f"{np.count_nonzero(drawn_ones)} of {scores.size} detections score {threshold:g} or more and are drawn"
    lower = threshold / 2
    others = np.count_nonzero(~drawn_ones & (scores >= lower))
    if not others:
        return text
    return f"{text}; --threshold {lower:g} draws {others} more, the best with {scores[~drawn_ones].max():.2f}"


def _check_figures(found: Detections, model: Path, image: Path) -> None:
    """Refuse what is no detection before an image of it is written.

    Raises:
        ArtifactError: a score, a box or a keypoint that is no number.
    """
    for what, values in (("score", found.scores), ("box", found.boxes), ("keypoint", found.keypoints)):
        if values is not None and not np.isfinite(values).all():
            raise ArtifactError(f"{model} gives a {what} that is no number for {image}; is its decoder the right one?")


def _picture_paths(images: Sequence[Path], out: Path) -> list[Path]:
    """A file for each image; images of the same name in different folders get numbers."""
    taken: set[str] = set()
    paths = []
    for image in images:
        name, number = image.stem, 1
        while name in taken:
            number += 1
            name = f"{image.stem}-{number}"
        taken.add(name)
        paths.append(out / f"{name}.png")
    return paths


def _as_data(prediction: Prediction, names: Sequence[str]) -> dict[str, Any]:
    """Boxes and keypoints of one image as plain data; masks are in the image only, being large."""
    found = prediction.detections
    rows = []
    for index in range(len(found)):
        label = int(found.labels[index])
        row: dict[str, Any] = {
            "box": [round(float(value), 2) for value in found.boxes[index]],
            "score": round(float(found.scores[index]), 5),
            "label": label,
            "class": names[label - 1] if 1 <= label <= len(names) else str(label),
        }
        if found.keypoints is not None:
            row["keypoints"] = [[round(float(v), 2) for v in point] for point in found.keypoints[index]]
        rows.append(row)
    return {"image": str(prediction.image), "picture": prediction.picture.name, "objects": rows}
