"""Detectors by name, built from a recipe."""

from collections.abc import Callable

from torch import nn

from lth_deploy.config.recipe import DetectorSpec
from lth_deploy.detectors.backbones import freeze_resnet
from lth_deploy.detectors.classifier import classifier
from lth_deploy.detectors.dense import fcos, retinanet
from lth_deploy.detectors.ssdlite import freeze_ssdlite, ssdlite
from lth_deploy.detectors.two_stage import faster_rcnn, keypoint_rcnn, mask_rcnn
from lth_deploy.detectors.weights import load_initial_weights
from lth_deploy.registry import Registry

Builder = Callable[[DetectorSpec, int, int], nn.Module]

DETECTORS: Registry[Builder] = Registry("detector")
DETECTORS.add("faster_rcnn", faster_rcnn)
DETECTORS.add("mask_rcnn", mask_rcnn)
DETECTORS.add("keypoint_rcnn", keypoint_rcnn)
DETECTORS.add("retinanet", retinanet)
DETECTORS.add("fcos", fcos)
DETECTORS.add("ssdlite", ssdlite)
DETECTORS.add("classifier", classifier)


def build_detector(spec: DetectorSpec, classes: int, keypoints: int = 0, *, load_weights: bool = True) -> nn.Module:
    """The detector of a recipe for `classes` categories and `keypoints` points per object.

    In training mode it maps (images, targets) to a dict of losses; in evaluation mode images to a list of
    dicts. Images are float32 [3, H, W] in 0..1, boxes x1, y1, x2, y2 in pixels, labels 1..classes. Fresh
    weights come from torch's global generator. `load_weights=False` builds the same network without reading
    the recipe's weights, for a state that is loaded right after.

    Raises:
        RecipeError: the recipe asks for what this detector or these weights cannot give.
        DataError: the weights cannot be read or do not fit.
    """
    model = DETECTORS.get(spec.name)(spec, classes, keypoints)
    if load_weights:
        load_initial_weights(model, spec, classes)
    backbone = model.get_submodule("backbone")
    freeze_backbone = freeze_ssdlite if spec.name == "ssdlite" else freeze_resnet
    freeze_backbone(backbone, spec.frozen_layers)
    return model
