"""The objects of a detection data set cut out as an image folder, CLASS/IMAGE, to train a classifier on."""

import hashlib
import io
import json
import logging
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lth_deploy import storage
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.images import read_record
from lth_deploy.data.json_values import short
from lth_deploy.data.records import Annotation, CocoDataset
from lth_deploy.errors import DataError, UsageError

INDEX = "crops.json"
_VERSION = 2
"""Raised whenever the same plan cuts other pixels, so that no old crops are taken for new ones."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropsPlan:
    """What is cut.

    pad: margin on each side as a share of the box, as far as the image goes. smallest: least side of a box in pixels.
    most: so many objects a class at most, spread evenly over the data set; 0 takes all.
    """

    pad: float = 0.2
    smallest: int = 8
    most: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be cut.

        Raises:
            UsageError: a value out of range.
        """
        if not 0 <= self.pad <= 4 or self.smallest < 1 or self.most < 0:
            raise UsageError(
                f"pad must lie in 0..4, smallest be 1 or more, most 0 or more; found {self.pad}, {self.smallest} "
                f"and {self.most}"
            )


def cut_objects(annotations: Path, images: Path, out: Path, plan: CropsPlan = CropsPlan()) -> dict[str, int]:
    """Write the objects of a COCO data set as `out`/CLASS/NUMBER.png; number of crops by class.

    Crowd regions are no objects. Nothing is cut again where the same plan was carried out before, which an index in
    the folder tells.

    Raises:
        DataError: the data set is faulty, a class has no object that is large enough, or its name is no folder's.
        UsageError: `out` holds something else.
    """
    dataset = load_coco(annotations, images)
    digest = _digest(dataset, plan)
    index = out / INDEX
    require_crops(out)
    if index.is_file():
        done = storage.read_json(index)
        if isinstance(done, dict) and done.get("plan") == digest:
            log.debug("%s: already cut with these parameters", out)
            return dict(done["counts"])
    chosen = _chosen(dataset, plan, annotations)
    _clear(out)
    # A folder that a kill leaves half full is known by an index without a plan.
    storage.write_json(index, {"plan": None})
    names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    counts = Counter(dict.fromkeys(dataset.class_names, 0))
    for record in dataset.images:
        found = [one for one in dataset.annotations[record.id] if one.id in chosen]
        pixels = read_record(record) if found else None
        for one in found:
            assert pixels is not None
            name = names[one.category_id]
            counts[name] += 1
            storage.write_bytes(out / name / f"{counts[name]:06d}.png", _png(_cut(pixels, one, plan.pad)))
    storage.write_json(index, {"plan": digest, "counts": dict(counts)})
    return dict(counts)


def require_crops(out: Path) -> None:
    """Refuse a folder that holds something else than crops.

    Raises:
        UsageError: see above.
    """
    if not (out / INDEX).is_file() and any(entry.name != storage.LOCK for entry in _entries(out)):
        raise UsageError(f"{out} is not empty, and what it holds are no crops; choose another folder")


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _clear(out: Path) -> None:
    """Delete all crops. The folder's lock stays: the process that holds it goes on."""
    for entry in _entries(out):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != storage.LOCK:
            entry.unlink()


def _chosen(dataset: CocoDataset, plan: CropsPlan, source: Path) -> set[int]:
    """Ids of the annotations that are cut."""
    chosen: set[int] = set()
    for category, name in zip(dataset.category_ids, dataset.class_names, strict=True):
        if name == INDEX or name.startswith(".") or len(name.encode()) > 255 or any(sign in name for sign in "/\\\0"):
            raise DataError(f"{source}: the class name {short(name)} cannot name a folder; rename the class")
        fitting = [
            one.id
            for record in dataset.images
            for one in dataset.annotations[record.id]
            if one.category_id == category and not one.iscrowd and min(one.bbox[2:]) >= plan.smallest
        ]
        if not fitting:
            raise DataError(
                f"{source}: class '{name}' has no object with sides of {plan.smallest} pixels or more; "
                "lower the least side or leave the class out"
            )
        most = min(plan.most or len(fitting), len(fitting))
        chosen |= {fitting[number * len(fitting) // most] for number in range(most)}
    return chosen


def _cut(pixels: npt.NDArray[np.uint8], one: Annotation, pad: float) -> npt.NDArray[np.uint8]:
    left, top, width, height = one.bbox
    rows = _inside(top - pad * height, top + (1 + pad) * height, pixels.shape[0])
    columns = _inside(left - pad * width, left + (1 + pad) * width, pixels.shape[1])
    return pixels[rows, columns]


def _inside(start: float, stop: float, length: int) -> slice:
    """Whole pixels that cover an interval as far as it lies in the image, one at least."""
    first = min(max(int(start), 0), length - 1)
    return slice(first, min(max(int(np.ceil(stop)), first + 1), length))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _digest(dataset: CocoDataset, plan: CropsPlan) -> str:
    values = {"version": _VERSION, "data": dataset.digest(), **asdict(plan)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
