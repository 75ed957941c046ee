"""Keypoint R-CNN."""

from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.entry import Detector
from lth_deploy.detectors.two_stage import PARTS, PREDICTORS, finish, pool, pyramid_parts, settings
from lth_deploy.errors import RecipeError


def keypoint_rcnn(spec: DetectorSpec, classes: int, keypoints: int) -> nn.Module:
    """Keypoint R-CNN (He et al. 2017).

    Raises:
        RecipeError: the data set names no keypoints.
    """
    if keypoints < 1:
        raise RecipeError(
            "detector.name: keypoint_rcnn needs keypoints, and no category of the data set names any; "
            "add 'keypoints' to the categories or choose another detector"
        )
    width = 2 * spec.fpn_width
    model: nn.Module = KeypointRCNN(
        **settings(spec),
        **pyramid_parts(spec, classes),
        keypoint_roi_pool=pool(14),
        keypoint_head=KeypointRCNNHeads(spec.fpn_width, (width,) * 8),
        keypoint_predictor=HeatMapPredictor(width, keypoints),
    )
    return finish(model, spec)


class HeatMapPredictor(KeypointRCNNPredictor):  # type: ignore[misc]
    """torchvision's predictor with heat maps laid out as its loss views them, whatever layout the weights have."""

    def forward(self, x: Tensor) -> Tensor:
        """Heat maps [R, K, 4S, 4S] of features [R, C, S, S]."""
        heat_maps: Tensor = super().forward(x)
        return heat_maps.contiguous()


DETECTOR = Detector(
    build=keypoint_rcnn,
    parts=(*PARTS, ("keypoint_head", "roi_heads.keypoint_head")),
    predictors=(*PREDICTORS, "roi_heads.keypoint_predictor.kps_score_lowres"),
    published={"resnet50": "keypointrcnn_resnet50_fpn"},
    published_without_epsilon=True,
)
