"""Names of a detector's classes and keypoints, which detectron2 keeps with the data and not with the model."""

from collections.abc import Sequence

from lth_deploy.decoders.model.class_names import COCO_IDS
from lth_deploy.decoders.model.coco_names import COCO_NAMES
from lth_deploy.detectors.detectron2.settings import Settings

COCO_KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
"""COCO's points of a person, in its order."""

Named = tuple[int, str]
"""A category id, and its name."""


def classes_of(settings: Settings) -> Sequence[Named]:
    """The categories of labels 1..C: COCO's where the training data's names say so, else numbers."""
    coco = any(name.startswith(("coco_", "keypoints_coco_")) for name in settings.datasets)
    if settings.family == "keypoint_rcnn" and coco and settings.classes == 1:
        return [(COCO_IDS[0], COCO_NAMES[0])]
    if coco and settings.classes == len(COCO_NAMES):
        return list(zip(COCO_IDS, COCO_NAMES, strict=True))
    return [(label, f"class_{label}") for label in range(1, settings.classes + 1)]


def keypoints_of(settings: Settings) -> Sequence[str]:
    """The names of an object's keypoints; empty where the detector finds none."""
    if settings.family != "keypoint_rcnn":
        return []
    if settings.keypoints == len(COCO_KEYPOINTS):
        return COCO_KEYPOINTS
    return [f"point_{number}" for number in range(1, settings.keypoints + 1)]
