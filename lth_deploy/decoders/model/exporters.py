"""Families of the library libreyolo, by `model_family` of the metadata that it exports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import Preprocessing


@dataclass(frozen=True)
class Kind:
    """A family of that library: the decoder of its outputs, and how it sees an image."""

    decoder: str
    preprocessing: Preprocessing
    options: Mapping[str, str] = field(default_factory=dict)


_DETR = Kind("detr", usual.STRETCHED)
_DETR_SMOOTH = Kind("detr", usual.STRETCHED_SMOOTH)
_DETR_IMAGENET = Kind("detr", usual.IMAGENET)
_DETR_IMAGENET_SMOOTH = Kind("detr", usual.IMAGENET_SMOOTH)

LIBREYOLO: Mapping[str, Kind] = {
    "yolox": Kind("yolox", usual.YOLOX_SMOOTH, {"boxes": "decoded"}),
    "yolo7": Kind("yolo", usual.YOLO_CORNER_SMOOTH, {"boxes": "corners"}),
    "yolo9": Kind("yolo", usual.YOLO_CORNER, {"boxes": "corners"}),
    "yolo9_p2": Kind("yolo", usual.YOLO_CORNER, {"boxes": "corners"}),
    "yolo9_e2e": Kind("yolo", usual.YOLO_CORNER, {"boxes": "corners", "suppression": "none"}),
    "picodet": Kind("picodet", usual.IMAGENET),
    "ppyoloe": Kind("ppyoloe", usual.IMAGENET),
    "rtmdet": Kind("rtmdet", usual.RTMDET_SMOOTH),
    "ssd": Kind("ssd", usual.SSD300, {"boxes": "corners"}),
    "centernet": Kind("centernet", usual.CENTERNET),
    "efficientdet": Kind("efficientdet", usual.EFFICIENTDET),
    "yolonas": Kind("yolonas", usual.YOLO_NAS),
    "rtdetr": _DETR,
    "rtdetrv2": _DETR,
    "rtdetrv4": _DETR_SMOOTH,
    "dfine": _DETR_SMOOTH,
    "deim": _DETR_SMOOTH,
    "deimv2": _DETR_SMOOTH,
    "detr": _DETR_IMAGENET_SMOOTH,
    "deformable_detr": _DETR_IMAGENET_SMOOTH,
    "dinodetr": _DETR_IMAGENET_SMOOTH,
    "lwdetr": _DETR_IMAGENET_SMOOTH,
    "rfdetr": _DETR_IMAGENET,
}
