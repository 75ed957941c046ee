"""A checked detection data set as plain immutable records in COCO's terms."""

import hashlib
import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Category:
    """A class of objects; `skeleton` joins positions in `keypoints`, counted from 1 as in COCO."""

    id: int
    name: str
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ImageRecord:
    """An image file; width and height in pixels, `file_name` as the annotation file gives it."""

    id: int
    path: Path
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Annotation:
    """One object. `bbox` is x, y, width, height in pixels, `area` in square pixels.

    segmentation: a list of polygons (flat x, y lists), a run-length dict, or None.
    keypoints: flat x, y, visibility (0 not labeled, 1 hidden, 2 visible) for each name of the category.
    A crowd region is neither trained on nor counted as missed.
    """

    id: int
    image_id: int
    category_id: int
    bbox: Box
    area: float
    iscrowd: bool
    segmentation: list[list[float]] | dict[str, Any] | None = None
    keypoints: tuple[float, ...] | None = None
    num_keypoints: int = 0


@dataclass(frozen=True)
class CocoDataset:
    """Images with their objects; `annotations` has an entry, perhaps empty, for every image id.

    Labels are 1..C in the order of `categories`; the ids of the file keep their gaps.
    """

    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    annotations: Mapping[int, tuple[Annotation, ...]]

    @cached_property
    def labels(self) -> dict[int, int]:
        """Label of each category id."""
        return {category.id: label for label, category in enumerate(self.categories, start=1)}

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Category id of label 1, 2, ..."""
        return tuple(category.id for category in self.categories)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of label 1, 2, ..."""
        return tuple(category.name for category in self.categories)

    @cached_property
    def keypoint_names(self) -> tuple[str, ...]:
        """The keypoints that all categories with keypoints share; empty where none has any."""
        return next((c.keypoints for c in self.categories if c.keypoints), ())

    @cached_property
    def has_masks(self) -> bool:
        """Whether every object that can be trained on has a segmentation, and there is one at all."""
        objects = [a for group in self.annotations.values() for a in group if not a.iscrowd]
        return bool(objects) and all(a.segmentation is not None for a in objects)

    def subset(self, n: int) -> "CocoDataset":
        """The first `n` images."""
        return self._with_images(self.images[:n])

    def without_empty(self) -> "CocoDataset":
        """Only images that have an object to train on."""
        keep = (i for i in self.images if any(not a.iscrowd for a in self.annotations[i.id]))
        return self._with_images(tuple(keep))

    def ground_truth(self) -> dict[str, Any]:
        """A plain COCO document for pycocotools, whose matching needs unique annotation ids above 0."""
        objects = [a for image in self.images for a in self.annotations[image.id]]
        return {
            "info": {},
            "images": [
                {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height} for i in self.images
            ],
            "annotations": [_as_coco(a, number) for number, a in enumerate(objects, start=1)],
            "categories": [_category_as_coco(c) for c in self.categories],
        }

    def digest(self) -> str:
        """Hex SHA-256 of the annotations and file names, not of pixels or of where the images lie."""
        digest = hashlib.sha256()
        for entry in (*self.categories, *((i.id, i.file_name, i.width, i.height) for i in self.images)):
            digest.update(repr(entry).encode())
        for image in self.images:
            for annotation in self.annotations[image.id]:
                _update(digest, annotation)
        return digest.hexdigest()

    def _with_images(self, images: tuple[ImageRecord, ...]) -> "CocoDataset":
        return CocoDataset(self.categories, images, {i.id: self.annotations[i.id] for i in images})


def _update(digest: "hashlib._Hash", annotation: Annotation) -> None:
    row = _as_coco(annotation, 0)  # the id of an annotation carries no meaning
    polygons = row.pop("segmentation", None)
    if isinstance(polygons, list):
        # Packed numbers, because most of a large file is polygons and their text takes minutes to make.
        row["polygons"] = [len(polygon) for polygon in polygons]
        for polygon in polygons:
            digest.update(array("d", polygon).tobytes())
    else:
        row["segmentation"] = polygons
    digest.update(json.dumps(row, sort_keys=True).encode())


def _as_coco(annotation: Annotation, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": number,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": list(annotation.bbox),
        "area": annotation.area,
        "iscrowd": int(annotation.iscrowd),
    }
    if annotation.segmentation is not None:
        row["segmentation"] = annotation.segmentation
    if annotation.keypoints is not None:
        row["keypoints"] = list(annotation.keypoints)
        row["num_keypoints"] = annotation.num_keypoints
    return row


def _category_as_coco(category: Category) -> dict[str, Any]:
    row: dict[str, Any] = {"id": category.id, "name": category.name}
    if category.keypoints:
        row["keypoints"] = list(category.keypoints)
        row["skeleton"] = [list(pair) for pair in category.skeleton]
    return row
