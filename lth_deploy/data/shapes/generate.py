"""A data set drawn from a seed: boxes, masks and keypoints for runs and tests without any download."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from lth_deploy import storage
from lth_deploy.data.shapes.drawing import KEYPOINTS, OUTLINES, SKELETON
from lth_deploy.data.shapes.scene import Stage
from lth_deploy.errors import DataError, UsageError
from lth_deploy.registry import did_you_mean

CLASSES = ("circle", "square", "triangle")

_VERSION = 1
"""Raised whenever the same parameters give other pixels, so that no old images are taken for new ones."""

_SMALLEST_SIDE = 32

log = logging.getLogger(__name__)


class ShapesOptions(TypedDict, total=False):
    """What may vary; see `ShapesPlan`."""

    size: tuple[int, int]
    seed: int
    classes: Sequence[str]
    max_objects: int
    crowd: float


@dataclass(frozen=True)
class ShapesPlan:
    """Everything that decides the images of one split: equal plans give equal bytes (same library versions).

    size: width, height in pixels. classes: names out of `OUTLINES`. max_objects: an image has 1 to so many.
    crowd: share of images with a crowd region.
    """

    split: str
    count: int
    size: tuple[int, int] = (160, 160)
    seed: int = 0
    classes: Sequence[str] = CLASSES
    max_objects: int = 4
    crowd: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            UsageError: a value out of range, or an unknown class.
        """
        for name in self.classes:
            if name not in OUTLINES:
                raise UsageError(f"unknown shape '{name}'{did_you_mean(name, OUTLINES)}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise UsageError(f"classes must be different names, and one at least; found {list(self.classes)}")
        if not self.split.isidentifier():
            raise UsageError(f"split '{self.split}' becomes a file name: use letters, digits and underscores")
        if self.count < 1 or self.max_objects < 1 or min(self.size) < _SMALLEST_SIDE:
            raise UsageError(
                f"count and max_objects must be 1 or more and both sides {_SMALLEST_SIDE} pixels or more; "
                f"found {self.count}, {self.max_objects} and {self.size[0]}x{self.size[1]}"
            )
        if not 0 <= self.crowd <= 1:
            raise UsageError(f"crowd is a share of images in 0..1; found {self.crowd}")

    def digest(self) -> str:
        """Hex SHA-256 of the parameters and the generator's version."""
        values = {"version": _VERSION, **asdict(self), "classes": list(self.classes), "size": list(self.size)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def random(self, index: int) -> np.random.Generator:
        """Random numbers of one image, so that a longer split begins with the images of a shorter one."""
        key = hashlib.sha256(f"shapes/{_VERSION}/{self.seed}/{self.split}/{index}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))


def generate_shapes(out: Path, *, split: str, count: int, **options: Unpack[ShapesOptions]) -> Path:
    """Draw `count` images into `out/<split>/` and write `out/<split>.json`, whose path is returned.

    Nothing is drawn again where the same plan was drawn before. The annotation file comes last, so that
    it exists only beside a complete set of images.

    Raises:
        UsageError: a plan that cannot be drawn, see `ShapesPlan`.
    """
    plan = ShapesPlan(split, count, **options)
    annotations, folder = out / f"{split}.json", out / split
    if _is_done(annotations, folder, plan):
        log.debug("%s: already drawn with these parameters", annotations)
        return annotations
    annotations.unlink(missing_ok=True)
    stage = Stage(plan.size, tuple(plan.classes), plan.max_objects, plan.crowd)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for index in range(count):
        pixels, found = stage.draw(plan.random(index))
        name = _file_name(index)
        storage.write_bytes(folder / name, _jpeg(pixels))
        images.append({"id": index + 1, "file_name": name, "width": plan.size[0], "height": plan.size[1]})
        for annotation in found:
            objects.append({"id": len(objects) + 1, "image_id": index + 1, **annotation})
    storage.write_json(annotations, _document(plan, images, objects))
    return annotations


def _document(plan: ShapesPlan, images: list[Any], objects: list[Any]) -> dict[str, Any]:
    return {
        "info": {"description": "generated shapes", "plan": plan.digest()},
        "images": images,
        "annotations": objects,
        "categories": [
            {
                "id": label,
                "name": name,
                "keypoints": list(KEYPOINTS),
                "skeleton": [list(bone) for bone in SKELETON],
            }
            for label, name in enumerate(plan.classes, start=1)
        ],
    }


def _is_done(annotations: Path, folder: Path, plan: ShapesPlan) -> bool:
    try:
        document = storage.read_json(annotations)
    except DataError:
        return False
    info = document.get("info") if isinstance(document, dict) else None
    same = isinstance(info, dict) and info.get("plan") == plan.digest()
    return same and all((folder / _file_name(index)).is_file() for index in range(plan.count))


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
