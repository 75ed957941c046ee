"""One entry of a COCO file's `annotations`, checked field by field."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, TypeVar

from lth_deploy.data.findings import CheckReport
from lth_deploy.data.json_values import FaultError, as_id, as_number, as_numbers, plain_number, short
from lth_deploy.data.records import Annotation, Box, Category, ImageRecord
from lth_deploy.data.segmentation import Segmentation, measure, read_segmentation

T = TypeVar("T")

_SLACK = 1.0
"""Pixels that a box may reach outside its image without a word; rounding does that."""

_SCALARS = ("id", "image_id", "category_id", "area", "iscrowd")


@dataclass
class AnnotationReader:
    """Turns raw entries into `Annotation`s; every fault goes to `report` with the annotation's id.

    listed_categories, listed_images: ids of all entries of the file; of those that are not in `categories` or `images`
    the fault is known already, and what refers to them is left out without a word.
    """

    file: str
    categories: dict[int, Category]
    images: dict[int, ImageRecord]
    report: CheckReport
    drop_degenerate: bool = False
    listed_categories: Container[int] = ()
    listed_images: Container[int] = ()

    def __post_init__(self) -> None:
        self._seen: set[int] = set()

    def read(self, raw: Any, position: int) -> Annotation | None:
        """The entry at `position` of the list, or None where it has a fault."""
        if not isinstance(raw, dict):
            self.report.error(self.file, f"annotations[{position}]", f"must be an object, found {short(raw)}")
            return None
        where = f"annotation {short(raw.get('id'))}" if "id" in raw else f"annotations[{position}]"
        faults = self.report.counts["errors"]
        box_as_text = isinstance(raw.get("bbox"), list) and any(map(_is_text, raw["bbox"]))
        if box_as_text or any(_is_text(raw.get(key)) for key in _SCALARS):
            self.report.group("notice", "numbers as text", self.file, where, "numbers are text; read as numbers")
        number = self._field(where, self._id, raw)
        image, category = self._image(raw, where), self._category(raw, where)
        box = self._field(where, _box, raw)
        crowd = self._field(where, self._crowd, raw, where)
        if image is None or category is None or box is None or number is None or crowd is None:
            return None
        in_image = self._field(where, self._place, box, image, where)
        mask = self._field(where, _mask, raw, image)
        points = self._field(where, self._keypoints, raw, category, where)
        if in_image is None or mask is None or points is None:
            return None
        area = self._field(where, self._area, raw, box, mask[0], image, where)
        if area is None or self.report.counts["errors"] > faults or not in_image:
            return None
        return Annotation(number, image.id, category.id, box, area, crowd, mask[0], points or None, _labeled(points))

    def _field(self, where: str, read: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return read(*arguments)
        except FaultError as fault:
            self.report.error(self.file, where, str(fault))
            return None

    def _id(self, raw: dict[str, Any]) -> int:
        number = as_id(raw.get("id"))
        if number in self._seen:
            raise FaultError("this id was used before; give every annotation an id of its own")
        self._seen.add(number)
        if number == 0:
            self.report.notice(self.file, "annotation 0", "id 0 means 'not matched' to AP; ids are renumbered from 1")
        return number

    def _image(self, raw: dict[str, Any], where: str) -> ImageRecord | None:
        number = self._reference(raw, "image_id", self.listed_images, "images", where)
        return None if number is None else self.images.get(number)

    def _category(self, raw: dict[str, Any], where: str) -> Category | None:
        number = self._reference(raw, "category_id", self.listed_categories, "categories", where)
        return None if number is None else self.categories.get(number)

    def _reference(self, raw: dict[str, Any], key: str, listed: Container[int], kind: str, where: str) -> int | None:
        """The id under `key`. Ids that nothing has are one finding, not one an annotation."""
        try:
            number = as_id(raw.get(key), key)
        except FaultError as fault:
            self.report.group("error", f"{key} is no id", self.file, where, str(fault))
            return None
        if number not in listed:
            self.report.group("error", f"unknown {key}", self.file, where, f"{key} {number} is not among the {kind}")
            return None
        return number

    def _crowd(self, raw: dict[str, Any], where: str) -> bool:
        if raw.get("iscrowd") is None:
            self.report.notice(self.file, where, "iscrowd is missing; filled in with 0")
            return False
        value = raw["iscrowd"]
        number = plain_number(value) if isinstance(value, str) else value
        if number not in (0, 1):
            raise FaultError(f"iscrowd must be 0 or 1, found {short(value)}")
        return bool(number)

    def _place(self, box: Box, image: ImageRecord, where: str) -> bool:
        """Whether the box can be used; True too where it only sticks out of the image a little."""
        x, y, width, height = box
        if width <= 0 or height <= 0:
            message = f"degenerate box: width {width:g} and height {height:g} must be above 0"
            if not self.drop_degenerate:
                raise FaultError(message)
            self.report.notice(self.file, where, f"{message}; the object is left out")
            return False
        if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
            raise FaultError(f"the box {_text(box)} lies outside the {image.width}x{image.height} image")
        beyond = max(-x, -y, x + width - image.width, y + height - image.height)
        if beyond > _SLACK:
            self.report.notice(
                self.file,
                where,
                f"the box {_text(box)} reaches {beyond:.0f} pixels outside; training clips it",
            )
        return True

    def _keypoints(self, raw: dict[str, Any], category: Category, where: str) -> tuple[float, ...]:
        if not raw.get("keypoints"):
            return ()
        values = as_numbers(raw["keypoints"], "keypoints")
        if len(values) != 3 * len(category.keypoints):
            raise FaultError(
                f"category '{category.name}' names {len(category.keypoints)} keypoints, so "
                f"{3 * len(category.keypoints)} numbers are needed, found {len(values)}"
            )
        if any(flag not in (0, 1, 2) for flag in values[2::3]):
            raise FaultError("the third number of a keypoint is its visibility and must be 0, 1 or 2")
        labeled, said = _labeled(tuple(values)), raw.get("num_keypoints")
        if (plain_number(said) if isinstance(said, str) else said) != labeled:
            self.report.notice(
                self.file, where, f"num_keypoints is {short(said)}; set to the {labeled} that are labeled"
            )
        return tuple(float(value) for value in values)

    def _area(self, raw: dict[str, Any], box: Box, mask: Segmentation | None, image: ImageRecord, where: str) -> float:
        if raw.get("area") is None:
            measured = box[2] * box[3] if mask is None else measure(mask, image.width, image.height)
            self.report.notice(self.file, where, f"area is missing; filled in with {measured:g}")
            return measured
        return as_number(raw["area"], "area")


def _is_text(value: Any) -> bool:
    """Whether it is a number that was written as text."""
    return isinstance(value, str) and plain_number(value) is not None


def _box(raw: dict[str, Any]) -> Box:
    values = as_numbers(raw.get("bbox"), "bbox")
    if len(values) != 4:
        raise FaultError(f"bbox must be x, y, width, height, found {len(values)} numbers")
    x, y, width, height = (float(value) for value in values)
    return x, y, width, height


def _mask(raw: dict[str, Any], image: ImageRecord) -> tuple[Segmentation | None]:
    # In a tuple, because None alone says that the field has a fault.
    return (read_segmentation(raw.get("segmentation"), image.width, image.height),)


def _labeled(points: tuple[float, ...]) -> int:
    return sum(1 for flag in points[2::3] if flag > 0)


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
