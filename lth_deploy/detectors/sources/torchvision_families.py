"""The detectors of torchvision, by family."""

from torch import nn

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.entry import DETECTORS
from lth_deploy.detectors.exportable import ExportForm, whole_detector
from lth_deploy.detectors.weights import load_initial_weights


class TorchvisionFamilies:
    """See `Source`. Parts and predictors are those that a family's entry names."""

    def build(self, spec: DetectorSpec, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """See `Source`."""
        detector = DETECTORS.get(spec.name)
        model = detector.build(spec, classes, keypoints)
        if load_weights:
            load_initial_weights(model, spec, classes)
        detector.freeze(model.get_submodule("backbone"), spec.frozen_layers)
        return model

    def export_form(self, model: nn.Module) -> ExportForm:
        """The whole detector, from the pixels of an image to its detections."""
        return whole_detector(model)


SOURCE = TorchvisionFamilies()
