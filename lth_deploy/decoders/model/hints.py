"""What an ONNX file says of itself beside its graph: names, sizes and family, by the conventions of its exporter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.preprocessing import MAX_SIDE, Preprocessing
from lth_deploy.decoders.model.class_names import parse_names
from lth_deploy.decoders.model.exporters import LIBREYOLO
from lth_deploy.errors import ArtifactError, UsageError


@dataclass(frozen=True)
class Hints:
    """source: who wrote it, in words; None where nobody did. families: names of decoders that it allows; all if empty.

    names: of the classes. size: height and width of the input. preprocessing, options: in place of the family's own.
    """

    source: str | None = None
    families: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def read_hints(properties: Mapping[str, str]) -> Hints:
    """What the metadata of an exporter say.

    Raises:
        ArtifactError: they contradict themselves. UsageError: a task or family that no decoder is for.
    """
    names = parse_names(properties["names"]) if "names" in properties else None
    size = _size(properties)
    _check_stride(properties.get("stride"), size)
    if "model_family" in properties:
        return _libreyolo(properties, names, size)
    if names is not None and ("stride" in properties or properties.get("author") == "Ultralytics"):
        return _ultralytics(properties, names, size)
    _check_number(properties, names)
    return Hints(None if names is None else "names in its metadata", names=names, size=size)


def _ultralytics(properties: Mapping[str, str], names: tuple[str, ...] | None, size: tuple[int, int] | None) -> Hints:
    _check_task(properties)
    detr = "detr" in properties.get("description", "").lower()
    families = ("detr",) if detr else ("yolo", "yolo-e2e", "nms")
    said = _said(properties, names, size, ("task", "stride"))
    return Hints(f"metadata of ultralytics ({said})", families, names, size)


def _libreyolo(properties: Mapping[str, str], names: tuple[str, ...] | None, size: tuple[int, int] | None) -> Hints:
    _check_task(properties)
    family = properties["model_family"].strip().lower()
    kind = LIBREYOLO.get(family)
    if kind is None:
        raise UsageError(
            f"metadata 'model_family' is '{family[:60]}', which no decoder is for (known: {', '.join(LIBREYOLO)}); "
            "give --decoder NAME or --decoder FILE.py:function"
        )
    _check_number(properties, names)
    said = _said(properties, names, size, ("model_family",))
    source = f"metadata of libreyolo ({said})"
    preprocessing = kind.preprocessing
    if family.startswith("yolo9") and properties.get("letterbox_pad") == "center":
        preprocessing = preprocessing.model_copy(update={"fit": "letterbox-center"})
    if family == "deimv2" and properties.get("size") in ("s", "m", "l", "x"):
        preprocessing = usual.IMAGENET
    return Hints(source, (kind.decoder,), names, size, preprocessing, kind.options)


def _said(
    properties: Mapping[str, str], names: tuple[str, ...] | None, size: tuple[int, int] | None, keys: tuple[str, ...]
) -> str:
    words = [f"{key} {properties[key][:40]}" for key in keys if key in properties]
    words += [f"{len(names)} names"] if names is not None else []
    words += [f"imgsz {size[0]}x{size[1]}"] if size is not None else []
    return ", ".join(words)


def _check_task(properties: Mapping[str, str]) -> None:
    task = properties.get("task", "detect").strip().lower()
    if task != "detect":
        raise UsageError(
            f"metadata 'task' is '{task[:40]}'; decoders are for task 'detect' alone: give --decoder FILE.py:function"
        )


def _check_number(properties: Mapping[str, str], names: tuple[str, ...] | None) -> None:
    """Hold the names to the number of classes that stands beside them."""
    text = properties.get("nc", "").strip()
    if names is not None and text.isdecimal() and len(text) < 8 and int(text) != len(names):
        raise ArtifactError(
            f"metadata 'names' names {len(names)} classes, but metadata 'nc' is {text}; correct the metadata"
        )


def _size(properties: Mapping[str, str]) -> tuple[int, int] | None:
    """Height and width from `imgsz`: 640, [640, 640] or, of libreyolo, `imgsz_h` and `imgsz_w`."""
    keys = ("imgsz_h", "imgsz_w") if {"imgsz_h", "imgsz_w"} <= set(properties) else ("imgsz",)
    text = ",".join(properties.get(key, "") for key in keys).strip()
    if not text:
        return None
    numbers = re.fullmatch(r"[\[(]?\s*(\d{1,6})\s*(?:,\s*(\d{1,6})\s*)?[\])]?", text)
    sides = [int(number) for number in numbers.groups() if number is not None] if numbers else []
    if not sides or not all(1 <= side <= MAX_SIDE for side in sides):
        raise ArtifactError(f"metadata 'imgsz' is {text[:60]!r}, which is no size of an image; correct the metadata")
    return sides[0], sides[-1]


def _check_stride(text: str | None, size: tuple[int, int] | None) -> None:
    """Hold the size to the stride of the network, which divides it."""
    if text is None or size is None or not re.fullmatch(r"\s*[1-9]\d{0,3}\s*", text):
        return
    stride = int(text)
    if size[0] % stride or size[1] % stride:
        raise ArtifactError(
            f"metadata 'imgsz' is {size[0]}x{size[1]}, which is no multiple of metadata 'stride' {stride}; "
            "correct the metadata"
        )
