"""How the families that people deploy see images, each as its own code or its exporter has it."""

from lth_deploy.decoders.image.preprocessing import Preprocessing

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_BGR = {"color": "bgr", "mean": _MEAN[::-1], "std": _STD[::-1]}
_ANTIALIASED = {"resample": "bilinear-antialiased"}

YOLO = Preprocessing(fit="letterbox-center", scale=1 / 255)
YOLO_CORNER = Preprocessing(fit="letterbox-corner", rounding="down", scale=1 / 255)
YOLO_CORNER_SMOOTH = YOLO_CORNER.model_copy(update=_ANTIALIASED)
YOLOX = Preprocessing(fit="letterbox-corner", rounding="down", color="bgr")
YOLOX_SMOOTH = YOLOX.model_copy(update=_ANTIALIASED)
YOLO_NAS = Preprocessing(fit="letterbox-center", longest=636, scale=1 / 255, resample="bilinear-antialiased")
STRETCHED = Preprocessing(fit="stretch", scale=1 / 255)
STRETCHED_SMOOTH = STRETCHED.model_copy(update=_ANTIALIASED)
IMAGENET = Preprocessing(fit="stretch", mean=_MEAN, std=_STD)
IMAGENET_SMOOTH = IMAGENET.model_copy(update=_ANTIALIASED)
RTMDET = Preprocessing(fit="letterbox-corner", rounding="down").model_copy(update=_BGR)
RTMDET_SMOOTH = RTMDET.model_copy(update=_ANTIALIASED)
NANODET = Preprocessing(fit="letterbox-center", pad=(0, 0, 0), resample="bicubic-antialiased").model_copy(update=_BGR)
EFFICIENTDET = Preprocessing(
    fit="letterbox-corner",
    rounding="down",
    pad=(124, 116, 104),
    resample="bilinear-antialiased",
    mean=_MEAN,
    std=_STD,
)
SSD300 = Preprocessing(fit="stretch", mean=(123.0, 117.0, 104.0))
"""torchvision's, of which the mean is 0.48235, 0.45882, 0.40784 on a scale of 0 to 1."""
PIXELS = Preprocessing(fit="stretch")
CENTERNET = Preprocessing(
    fit="letterbox-center",
    pad=(0, 0, 0),
    grid="integer",
    color="bgr",
    scale=1 / 255,
    mean=(0.408, 0.447, 0.470),
    std=(0.289, 0.274, 0.278),
)
