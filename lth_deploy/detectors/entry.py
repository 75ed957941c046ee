"""An entry of the table of detectors: all that the rest of the package has to know of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.backbones import freeze_resnet
from lth_deploy.registry import Registry

Builder = Callable[[DetectorSpec, int, int], nn.Module]
"""From the recipe's section, the number of classes, and the number of keypoints of an object. Raises RecipeError."""


@dataclass(frozen=True)
class Detector:
    """What a file in `families/` says of its detector.

    build: makes it, with a submodule `backbone`. parts: names of groups of layers, and the submodule that each is; of
    submodules inside of each other the inner one counts. predictors: submodules whose outputs are the answer of the
    detector, logits and box deltas. prediction_blocks: submodules that hold one block for each feature level, whose
    last layer is such a predictor. only_in: the type of modules that predictors are looked for in; any by default.
    freeze: freezes the first stages of the backbone. published: the names that
    torchvision has for weights of the whole detector, by backbone. published_without_epsilon: whether their norms were
    frozen ones, which add nothing to the variance.
    """

    build: Builder
    parts: tuple[tuple[str, str], ...]
    predictors: tuple[str, ...] = ()
    prediction_blocks: tuple[str, ...] = ()
    only_in: type[nn.Module] = nn.Module
    freeze: Callable[[nn.Module, int], None] = freeze_resnet
    published: Mapping[str, str] = field(default_factory=dict)
    published_without_epsilon: bool = False


DETECTORS: Registry[Detector] = Registry("detector")
