"""A whole COCO annotation file: read, checked, turned into a `CocoDataset`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lth_deploy.data.coco.annotation import AnnotationReader
from lth_deploy.data.coco.image_entries import Entry, check_files, read_images
from lth_deploy.data.findings import CheckReport
from lth_deploy.data.json_values import FaultError, as_id, is_one_line, short
from lth_deploy.data.records import Annotation, Category, CocoDataset
from lth_deploy.data.text_files import read_json_text
from lth_deploy.errors import DataError


def inspect(
    annotations: Path, images: Path, *, decode_images: bool, drop_degenerate: bool = False
) -> tuple[CocoDataset, CheckReport]:
    """Everything sound in an annotation file, and everything that is not.

    Raises:
        DataError: the file is no JSON object, so that nothing in it can be pointed at.
    """
    document = _read(annotations)
    report = CheckReport()
    file = str(annotations)
    listed_categories = list(
        _objects(_entries(document, "categories", file, report), "categories", "category", file, report)
    )
    listed_images = list(_objects(_entries(document, "images", file, report), "images", "image", file, report))
    categories = {c.id: c for c in _categories(listed_categories, file, report)}
    records = {i.id: i for i in read_images(listed_images, images, file, report)}
    _check_keypoint_names(categories.values(), file, report)
    check_files(list(records.values()), images, decode_images, report)
    known = {number for number, _, _ in listed_categories}, {number for number, _, _ in listed_images}
    reader = AnnotationReader(file, categories, records, report, drop_degenerate, *known)
    objects: dict[int, list[Annotation]] = {number: [] for number in records}
    for position, raw in enumerate(_entries(document, "annotations", file, report)):
        annotation = reader.read(raw, position)
        if annotation is not None:
            objects[annotation.image_id].append(annotation)
    dataset = CocoDataset(
        tuple(categories.values()),
        tuple(records.values()),
        {number: tuple(group) for number, group in objects.items()},
    )
    _check_duplicates(dataset, file, report)
    report.close()
    _count(dataset, report)
    return dataset, report


def _read(path: Path) -> dict[str, Any]:
    document = read_json_text(path)
    if not isinstance(document, dict):
        raise DataError(
            f"{path}: a COCO file is a JSON object with images, annotations and categories, found {short(document)}"
        )
    return document


def _entries(document: dict[str, Any], key: str, file: str, report: CheckReport) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        report.error(file, key, f"must be a list, found {short(value)}")
        return []
    if not value and key != "annotations":
        report.error(file, key, "the list is empty; there is nothing to work on")
    return value


def _objects(entries: list[Any], key: str, kind: str, file: str, report: CheckReport) -> Iterator[Entry]:
    """Id, place and content of each entry that is an object with an id of its own."""
    seen: set[int] = set()
    for position, raw in enumerate(entries):
        where = f"{key}[{position}]"
        try:
            if not isinstance(raw, dict):
                raise FaultError(f"must be an object, found {short(raw)}")
            number = as_id(raw.get("id"))
            where = f"{kind} {number}"
            if number in seen:
                raise FaultError("this id was used before; ids must differ")
        except FaultError as fault:
            report.error(file, where, str(fault))
            continue
        if type(raw["id"]) is not int:
            report.group("notice", f"{kind} ids", file, where, f"the id {short(raw['id'])} is read as {number}")
        seen.add(number)
        yield number, where, raw


def _categories(entries: Iterable[Entry], file: str, report: CheckReport) -> Iterator[Category]:
    names: dict[str, int] = {}
    for number, where, raw in entries:
        if number == 0:
            report.notice(file, where, "id 0 often stands for background elsewhere; here it is a class like any other")
        try:
            category = _category(number, raw)
        except FaultError as fault:
            report.error(file, where, str(fault))
            continue
        if category.name in names:
            report.error(file, where, f"name '{category.name}' is also category {names[category.name]}'s")
            continue
        names[category.name] = number
        yield category


def _category(number: int, raw: dict[str, Any]) -> Category:
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip() or not is_one_line(name):
        raise FaultError(f"name must be text of one line, found {short(name)}")
    points = raw.get("keypoints") or []
    if not isinstance(points, list) or not all(isinstance(p, str) for p in points) or len(set(points)) < len(points):
        raise FaultError("keypoints must be a list of different names")
    skeleton = raw.get("skeleton") or []
    if not isinstance(skeleton, list) or not all(_is_bone(bone, len(points)) for bone in skeleton):
        raise FaultError(f"skeleton must hold pairs of whole numbers in 1..{len(points)}")
    return Category(number, name, tuple(points), tuple((bone[0], bone[1]) for bone in skeleton))


def _is_bone(bone: Any, points: int) -> bool:
    return isinstance(bone, list) and len(bone) == 2 and all(type(p) is int and 1 <= p <= points for p in bone)


def _check_keypoint_names(categories: Any, file: str, report: CheckReport) -> None:
    first: Category | None = None
    for category in categories:
        first = first or (category if category.keypoints else None)
        if first and category.keypoints and category.keypoints != first.keypoints:
            report.error(
                file,
                f"category {category.id}",
                f"its keypoints differ from category {first.id}'s; a detector has one set",
            )


def _check_duplicates(dataset: CocoDataset, file: str, report: CheckReport) -> None:
    """Objects that are there twice: pasted lists and merged files have them, and they count twice in AP."""
    for group in dataset.annotations.values():
        seen: dict[tuple[object, ...], Annotation] = {}
        for annotation in group:
            first = seen.setdefault((annotation.category_id, annotation.iscrowd, annotation.bbox), annotation)
            if first is not annotation and replace(first, id=annotation.id) == annotation:
                message = f"identical to annotation {first.id}: the same image, class and box; both count"
                report.group("notice", "duplicates", file, f"annotation {annotation.id}", message)


def _count(dataset: CocoDataset, report: CheckReport) -> None:
    groups = dataset.annotations.values()
    report.counts["images"] = len(dataset.images)
    report.counts["categories"] = len(dataset.categories)
    report.counts["annotations"] = sum(len(group) for group in groups)
    report.counts["crowd regions"] = sum(a.iscrowd for group in groups for a in group)
    report.counts["images without objects"] = sum(not group for group in groups)
