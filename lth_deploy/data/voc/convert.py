"""Pascal VOC folders turned into COCO files, which is the one format that everything else reads.

Objects marked difficult become crowd regions: never trained on, and finding one is neither right nor wrong.
That is what VOC means by the mark, and the only way in which pycocotools can ignore an object.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lth_deploy import storage
from lth_deploy.data.file_names import ImageFolder, folded
from lth_deploy.data.images import SUFFIXES, read_header
from lth_deploy.data.json_values import FaultError, printable
from lth_deploy.data.voc.split import ALL, read_split
from lth_deploy.data.voc.xml import CORNERS, VocAnnotation, VocObject, read_voc_xml
from lth_deploy.errors import DataError

__all__ = ["ALL", "VocConversion", "convert_voc"]


@dataclass(frozen=True)
class VocConversion:
    """What was written. `first_pixel` is 1 where corners count pixels from 1, as in VOC itself, else 0.

    notes: what was repaired on the way, in words.
    """

    annotations: Path
    images: Path
    classes: tuple[str, ...]
    image_count: int
    object_count: int
    difficult: int
    first_pixel: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Folders:
    """Where the parts of a data set lie: VOC's own layout, or all in one folder."""

    annotations: Path
    images: Path
    splits: Path


def convert_voc(
    voc_root: Path,
    split: str,
    out_json: Path,
    *,
    classes: Sequence[str] | None = None,
    first_pixel: int | None = None,
) -> VocConversion:
    """Write a split of a VOC folder as a COCO file.

    The split is a list in ImageSets/Main, or 'all'. Classes get ids 1, 2, ... in the order of `classes`;
    without it, in alphabetical order of all names in all annotation files, so that the splits of a
    folder agree. VOC counts pixels from 1 to the last one included; tools that imitate it count from 0.
    Without `first_pixel` a corner below 1 anywhere in the folder proves the latter.

    Raises:
        DataError: folder, list, annotation or image missing or damaged, or a class not in `classes`.
    """
    folders = _find(voc_root)
    annotations = _read_all(folders)
    every = split == ALL
    stems = sorted(annotations) if every else read_split(folders.splits / f"{split}.txt", _stem_of(annotations))
    names = tuple(classes) if classes is not None else _class_names(annotations)
    if first_pixel is None:
        first_pixel = _first_pixel(annotations)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    folder = ImageFolder(folders.images)
    for stem in stems:
        images.append(_image(annotations[stem], stem, folder, len(images) + 1))
        objects += _objects(annotations[stem], len(images), names, first_pixel)
    for number, row in enumerate(objects, start=1):
        row["id"] = number
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    storage.write_json(out_json, {"images": images, "annotations": objects, "categories": categories})
    difficult = sum(row["iscrowd"] for row in objects)
    notes = tuple(_swapped([annotations[stem] for stem in stems]))
    return VocConversion(out_json, folders.images, names, len(images), len(objects), difficult, first_pixel, notes)


def _find(root: Path) -> _Folders:
    splits = root / "ImageSets" / "Main"
    if (root / "Annotations").is_dir():
        images = root / "JPEGImages"
        return _Folders(root / "Annotations", images if images.is_dir() else root / "images", splits)
    if root.is_dir() and any(path.suffix.lower() == ".xml" for path in root.iterdir()):
        return _Folders(root, root, splits)
    raise DataError(f"{root}: no folder Annotations and no XML files here; name the root of a VOC data set")


def _read_all(folders: _Folders) -> dict[str, VocAnnotation]:
    """What the annotation files say, by stem."""
    found = folders.annotations.iterdir() if folders.annotations.is_dir() else ()
    # macOS puts a hidden ._NAME.xml of its own beside each file that it packs.
    paths = sorted(path for path in found if path.suffix.lower() == ".xml" and not path.name.startswith("."))
    if not paths:
        raise DataError(f"{folders.annotations}: no XML files; a VOC data set has one for each image")
    annotations: dict[str, VocAnnotation] = {}
    for path in paths:
        if path.stem in annotations:
            raise DataError(
                f"{path}: there is {annotations[path.stem].path.name} too; one image has one annotation file"
            )
        annotations[path.stem] = read_voc_xml(path)
    return annotations


def _stem_of(annotations: dict[str, VocAnnotation]) -> Callable[[str], str | None]:
    """The stem that a name means: letter by letter, else the only one that differs in case or Unicode form."""
    alike: dict[str, list[str]] = {}
    for stem in annotations:
        alike.setdefault(folded(stem), []).append(stem)

    def find(name: str) -> str | None:
        if name in annotations:
            return name
        found = alike.get(folded(name), [])
        return found[0] if len(found) == 1 else None

    return find


def _class_names(annotations: dict[str, VocAnnotation]) -> tuple[str, ...]:
    return tuple(sorted({object_.name for annotation in annotations.values() for object_ in annotation.objects}))


def _first_pixel(annotations: dict[str, VocAnnotation]) -> int:
    corners = [_ordered(o) for annotation in annotations.values() for o in annotation.objects]
    return 0 if any(min(c[0], c[1]) < 1 for c in corners) else 1


def _image(annotation: VocAnnotation, stem: str, folder: ImageFolder, number: int) -> dict[str, Any]:
    path = _image_path(annotation, stem, folder)
    width, height = annotation.size or _measure(path)
    return {"id": number, "file_name": path.name, "width": width, "height": height}


def _image_path(annotation: VocAnnotation, stem: str, folder: ImageFolder) -> Path:
    # <filename> often survives a renaming of the file, so the XML file's own name comes first. Only the last
    # part of it counts, and <folder> not at all: neither must lead out of the folder.
    named = PurePosixPath(annotation.file_name.replace("\\", "/")).name
    same_stem = folder.with_stem(stem)
    if len(same_stem) > 1 and named in same_stem:
        return folder.folder / named
    try:
        for name in (*same_stem, named):
            if name and (path := folder.find(name).path).is_file():
                return path
    except FaultError as fault:
        raise DataError(f"{annotation.path}: {fault}") from fault
    raise DataError(f"{annotation.path}: no image '{stem}' with {', '.join(SUFFIXES)} in {folder.folder}")


def _measure(path: Path) -> tuple[int, int]:
    try:
        return read_header(path).size
    except FaultError as fault:
        raise DataError(f"{printable(path)}: {fault}") from fault


def _objects(
    annotation: VocAnnotation, image_id: int, names: tuple[str, ...], first_pixel: int
) -> list[dict[str, Any]]:
    rows = []
    for number, found in enumerate(annotation.objects, start=1):
        if found.name not in names:
            raise DataError(f"{annotation.path}: object {number} is a '{found.name}', not one of: {', '.join(names)}")
        # Pixel 1 begins at coordinate 0, and the last pixel, which is part of the object, ends at its number.
        corners = _ordered(found)
        left, top = corners[0] - first_pixel, corners[1] - first_pixel
        width, height = corners[2] - left, corners[3] - top
        rows.append(
            {
                "image_id": image_id,
                "category_id": names.index(found.name) + 1,
                "bbox": [left, top, width, height],
                "area": max(width, 0.0) * max(height, 0.0),
                "iscrowd": int(found.difficult),
            }
        )
    return rows


def _ordered(found: VocObject) -> tuple[float, float, float, float]:
    """Corners with the upper left one first."""
    x1, y1, x2, y2 = found.corners
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _swapped(annotations: Sequence[VocAnnotation]) -> list[str]:
    """What is to be said of objects whose corners were put in order."""
    swapped = [
        (annotation, number, found)
        for annotation in annotations
        for number, found in enumerate(annotation.objects, start=1)
        if found.corners != _ordered(found)
    ]
    if not swapped:
        return []
    annotation, number, found = swapped[0]
    files = len({str(one.path) for one, _, _ in swapped})
    corners = ", ".join(f"{key} {value:g}" for key, value in zip(CORNERS, found.corners, strict=True))
    objects = f"{len(swapped)} object{'s' if len(swapped) > 1 else ''} in {files} file{'s' if files > 1 else ''}"
    first = f"the first is object {number} of {printable(annotation.path)}: {corners}"
    return [f"swapped corners were put in order: {objects}; {first}"]
