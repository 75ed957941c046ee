"""Faster R-CNN, on a feature pyramid if the recipe says nothing else."""

from torch import nn
from torchvision.models.detection import FasterRCNN

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.c4 import c4_parts
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.two_stage import PARTS, PREDICTORS, finish, pyramid_parts, settings


def faster_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017), or with layer4 on each region."""
    parts = c4_parts(spec, classes) if spec.layout == "c4" else pyramid_parts(spec, classes)
    model: nn.Module = FasterRCNN(**{**settings(spec), **parts})
    return finish(model, spec)


DETECTOR = Detector(
    build=faster_rcnn,
    parts=PARTS,
    predictors=PREDICTORS,
    published={"resnet50": "fasterrcnn_resnet50_fpn"},
    published_without_epsilon=True,
)
