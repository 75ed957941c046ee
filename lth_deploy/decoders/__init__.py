"""From an image to a model's inputs, and from its outputs to detections: one file for each family of models.

The artifact's metadata names its decoder; `export --onnx` writes that name.
"""

import importlib.util
from pathlib import Path

from lth_deploy.decoders import (
    centernet,
    detr,
    efficientdet,
    lth,
    nanodet,
    nms,
    picodet,
    rtmdet,
    ssd,
    yolo,
    yolo_e2e,
    yolonas,
    yolox,
)
from lth_deploy.decoders.choice import AUTO, Choice, choose, fit_named, fit_recorded
from lth_deploy.decoders.protocol import DECODERS, Decoder, Family, FamilyDecoder, Photo
from lth_deploy.errors import UsageError

__all__ = [
    "AUTO",
    "DECODERS",
    "Choice",
    "Decoder",
    "FamilyDecoder",
    "Photo",
    "choose",
    "fit_named",
    "fit_recorded",
    "is_file",
    "load_decoder",
]

FAMILIES: tuple[Family, ...] = (
    lth.Lth(),
    yolo.Yolo(),
    yolo_e2e.YoloEndToEnd(),
    nms.NmsInGraph(),
    yolox.Yolox(),
    nanodet.NanoDet(),
    picodet.PICODET,
    picodet.PPYOLOE,
    rtmdet.RtmDet(),
    yolonas.YoloNas(),
    detr.Detr(),
    ssd.Ssd(),
    efficientdet.EfficientDet(),
    centernet.CenterNet(),
)
for family in FAMILIES:
    DECODERS.add(family.name, family)


def is_file(name: str) -> bool:
    """Whether `name` is a function of the user's own, FILE.py:function, and not a family."""
    file, separator, _ = name.rpartition(":")
    return bool(separator) and file.endswith(".py")


def load_decoder(name: str) -> Decoder:
    """What the function in 'FILE.py:function' returns.

    It runs the file: it is the user's own code, given on the user's own command line. A name read from an artifact's
    metadata must go through `fit_recorded`, which never runs files.

    Raises:
        UsageError: no such file or function, or the result is not a decoder.
    """
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"decoder '{name}': there is no file {path}; give FILE.py:function or a known name")
    spec = importlib.util.spec_from_file_location(f"lth_deploy_user_decoder_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"decoder '{name}': {path} cannot be imported as Python; give a .py file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build = getattr(module, function, None)
    if not callable(build):
        raise UsageError(f"decoder '{name}': {path} has no function '{function}'; define it in that file")
    decoder = build()
    if not isinstance(decoder, Decoder):
        raise UsageError(
            f"decoder '{name}' returned {type(decoder).__name__}; return an object with class_names, "
            "prepare(image) and decode(outputs, context)"
        )
    return decoder
