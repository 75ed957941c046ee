"""The dense ONNX graph of a detector of detectron2, held to the network that it was traced from."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from torch import nn

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
from lth_deploy.compiler.model import capture
from lth_deploy.compiler.model.save import save_model
from lth_deploy.config.target import Target
from lth_deploy.data.images import image_files, read_image
from lth_deploy.detections import Detections
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.detectors.detectron2.settings import Settings
from lth_deploy.detectors.exportable import WHOLE, ExportableDetector
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.inference import Image, predict
from lth_deploy.errors import ParityError
from lth_deploy.measure.parity import compare_detections
from lth_deploy.run.directory import versions
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.export.detectron2.class_names import classes_of, keypoints_of
from lth_deploy.workflow.export.detectron2.files import Detectron2Files
from lth_deploy.workflow.export.quantization import spread
from lth_deploy.workflow.gates.detections import parity_limits

log = logging.getLogger(__name__)

IMAGES = 8
"""At most so many images are compared."""
SAMPLE = (480, 640)
"""Height and width of the image that is drawn where there is no folder of them."""


def write_dense(files: Detectron2Files, folder: Path | None, target: Target, path: Path) -> None:
    """Convert a detector and write its graph to `path`, with the names of its classes.

    folder: of the images that torch and the graph are compared on; None for a drawn one.

    Raises:
        DataError: the files cannot be read or do not go together; see `convert`. ParityError: the graph finds something
        else than the network in torch.
    """
    converted = convert(files.config, files.weights)
    settings = converted.settings
    log.info("%s: %s, %d classes", files.weights.name, settings.family, settings.classes)
    images = dict(_images(folder))
    folded = fold_norm(converted.model).module
    graph = capture.capture(ExportableDetector(folded), next(iter(images.values())), target.opset)
    write_metadata(graph, _metadata(settings))
    save_model(graph, path)
    _hold(path, converted.model, images, target, settings.score_threshold)


def _metadata(settings: Settings) -> ArtifactMetadata:
    return ArtifactMetadata(
        decoder="lth",
        classes=[ClassName(id=number, name=name) for number, name in classes_of(settings)],
        keypoints=list(keypoints_of(settings)),
        preprocessing=dict(WHOLE),
        created_by=versions(),
    )


def _images(folder: Path | None) -> Iterator[tuple[str, Image]]:
    if folder is None:
        yield "a drawn image", _drawn()
    else:
        yield from ((file.name, read_image(file)) for file in spread(image_files(folder), IMAGES))


def _drawn() -> Image:
    """Blocks of colors [480, 640, 3], the same on every machine."""
    height, width = SAMPLE
    blocks = np.random.RandomState(0).randint(0, 256, (height // 16, width // 16, 3)).astype(np.uint8)
    return blocks.repeat(16, 0).repeat(16, 1)


def _hold(path: Path, model: nn.Module, images: Mapping[str, Image], target: Target, floor: float) -> None:
    report = compare_detections(_pairs(path, model, images), parity_limits(target.gates, floor, least=0))
    if not report.passed:
        raise ParityError(
            f"the ONNX graph does not find what the converted network finds on {len(images)} images: "
            f"{report.describe()}; nothing was exported"
        )


def _pairs(path: Path, model: nn.Module, images: Mapping[str, Image]) -> Iterator[tuple[str, Detections, Detections]]:
    artifact = open_artifact(path)
    for name, image in images.items():
        yield name, predict(model, [image])[0], artifact.predict(image)
