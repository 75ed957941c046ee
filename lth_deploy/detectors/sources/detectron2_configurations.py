"""Detectors that a configuration of detectron2 describes, on torchvision's modules, or on its own where it is there."""

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from lth_deploy.config.detector_spec import Detectron2Spec
from lth_deploy.detectors.backbones import freeze_resnet
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.detectors.detectron2.network import build
from lth_deploy.detectors.detectron2.own_modules import OwnModules
from lth_deploy.detectors.detectron2.own_network import own_network
from lth_deploy.detectors.detectron2.own_states import as_torchvision, checkpoint_of
from lth_deploy.detectors.detectron2.settings import Settings, read_settings
from lth_deploy.detectors.exportable import ExportForm, whole_detector
from lth_deploy.detectors.groups import final_predictors
from lth_deploy.detectors.sources.source import Deployed
from lth_deploy.detectors.weights import load_detector, load_file_whole
from lth_deploy.errors import RecipeError

log = logging.getLogger(__name__)


class Detectron2Configurations:
    """See `Source`. Weights in safetensors are the whole detector as this source builds it, by the names that it has.

    On torchvision's modules, parts have the names that they have in torchvision's own detectors, and losses and the
    sampling of boxes are torchvision's. On detectron2's, all of these are detectron2's, and so are names of layers.
    """

    def build(self, spec: Detectron2Spec, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """See `Source`.

        Raises:
            RecipeError: the configuration is of another kind of detector, or the data has no keypoints for it.
            DataError: the configuration or the checkpoint cannot be read, or they do not go together.
            MissingPackageError: modules of detectron2 are asked for, and it is not installed.
        """
        settings = _fitted(spec, read_settings(Path(spec.config)), classes, keypoints)
        if spec.modules == "detectron2":
            return self._own(spec, settings, classes, load_weights)
        model = build(settings).train()
        if load_weights and spec.weights.endswith(".safetensors"):
            load_file_whole(model, Path(spec.weights), classes)
        elif load_weights and spec.weights != "none":
            _load(model, spec)
        elif spec.weights == "none" and settings.frozen_norms:
            log.warning("MODEL.RESNETS.NORM is FrozenBN and detector.weights 'none': nothing is normalized")
        freeze_resnet(model.get_submodule("backbone"), settings.frozen_stages)
        return model

    def _own(self, spec: Detectron2Spec, settings: Settings, classes: int, load_weights: bool) -> nn.Module:
        """On detectron2's modules; a checkpoint has to fit the configuration, and then the classes of the data."""
        model = OwnModules(own_network(Path(spec.config), settings), settings).train()
        if load_weights and spec.weights != "none":
            path = Path(spec.weights)
            if path.suffix == ".safetensors":
                load_file_whole(model, path, classes)
            else:
                convert(Path(spec.config), path)  # what says nothing of its shapes is compared there
                load_detector(model, checkpoint_of(path), str(path), classes)
        return model

    def deployed(self, model: nn.Module, *, quantized: bool) -> Deployed:
        """See `Deploys`: on torchvision's modules, whose graph runs everywhere."""
        return as_torchvision(model) if isinstance(model, OwnModules) else Deployed(model)

    def export_form(self, model: nn.Module) -> ExportForm:
        """The whole detector, from the pixels of an image to its detections."""
        return whole_detector(model)


SOURCE = Detectron2Configurations()


def _fitted(spec: Detectron2Spec, settings: Settings, classes: int, keypoints: int) -> Settings:
    """The settings for the classes and keypoints of the data, and the sizes of the recipe."""
    if settings.family != spec.name:
        raise RecipeError(
            f"detector.config {spec.config} is of a {settings.family}, and detector.name is '{spec.name}'; "
            f"write name: {settings.family}"
        )
    if spec.name == "keypoint_rcnn" and keypoints < 1:
        raise RecipeError(
            "detector.name: keypoint_rcnn needs keypoints, and no category of the data set names any; add 'keypoints' "
            "to the categories or choose another configuration"
        )
    image = replace(settings.image, min_size=spec.min_size, max_size=spec.max_size)
    return replace(
        settings,
        classes=classes,
        keypoints=keypoints or settings.keypoints,
        image=image,
        score_threshold=spec.score_threshold,
    )


def _load(model: nn.Module, spec: Detectron2Spec) -> None:
    """Fill in the checkpoint; final predictors for other classes stay fresh, and the log says so."""
    state = convert(Path(spec.config), Path(spec.weights)).model.state_dict()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    fresh = sorted(name for name, value in state.items() if value.shape != shapes[name])
    # The settings differ in classes and keypoints alone, which only these layers count.
    assert {name.rpartition(".")[0] for name in fresh} <= set(final_predictors(model))
    if fresh:
        log.warning(
            "%s: %d tensors of the final predictors are for other classes and stay fresh: %s",
            spec.weights,
            len(fresh),
            ", ".join(fresh),
        )
    model.load_state_dict({name: value for name, value in state.items() if name not in fresh}, strict=False)
