"""Detectors by name, built from a recipe."""

from importlib import import_module

from torch import nn

from lth_deploy.config.detector_spec import FAMILIES, AnyDetectorSpec
from lth_deploy.detectors.entry import DETECTORS

for _name in FAMILIES:
    DETECTORS.add(_name, import_module(f"{__name__}.families.{_name}").DETECTOR)


def build_detector(spec: AnyDetectorSpec, classes: int, keypoints: int = 0, *, load_weights: bool = True) -> nn.Module:
    """The detector of a recipe for `classes` categories and `keypoints` points per object.

    In training mode it maps (images, targets) to a dict of losses; in evaluation mode images to a list of
    dicts. Images are float32 [3, H, W] in 0..1, boxes x1, y1, x2, y2 in pixels, labels 1..classes. Fresh
    weights come from torch's global generator. `load_weights=False` builds the same network without reading
    the recipe's weights, for a state that is loaded right after.

    Raises:
        RecipeError: the recipe asks for what this detector or these weights cannot give.
        DataError: the weights cannot be read or do not fit.
        MissingExtraError: the packages of the recipe's source are not installed.
    """
    from lth_deploy.detectors.sources import source_of

    return source_of(spec).build(spec, classes, keypoints, load_weights=load_weights)
