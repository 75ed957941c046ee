"""Pascal VOC folders turned into COCO files, which is the one format that everything else reads.

Objects marked difficult become crowd regions: never trained on, and finding one is neither right nor wrong.
That is what VOC means by the mark, and the only way in which pycocotools can ignore an object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from lth_deploy import storage
from lth_deploy.data.voc_xml import VocPicture, read_voc_xml
from lth_deploy.errors import DataError

ALL = "all"
"""The split that stands for every annotation file."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".JPG", ".JPEG", ".PNG", ".BMP")


@dataclass(frozen=True)
class VocConversion:
    """What was written. `first_pixel` is 1 where corners count pixels from 1, as in VOC itself, else 0."""

    annotations: Path
    images: Path
    classes: tuple[str, ...]
    image_count: int
    object_count: int
    difficult: int
    first_pixel: int


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
    pictures = _read_all(folders)
    stems = sorted(pictures) if split == ALL else _read_split(folders.splits / f"{split}.txt")
    names = tuple(classes) if classes is not None else _class_names(pictures)
    if first_pixel is None:
        first_pixel = _first_pixel(pictures)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for stem in stems:
        if stem not in pictures:
            raise DataError(f"{folders.annotations / stem}.xml: no such file, but split '{split}' lists it")
        images.append(_image(pictures[stem], stem, folders.images, len(images) + 1))
        objects += _objects(pictures[stem], len(images), names, first_pixel)
    for number, row in enumerate(objects, start=1):
        row["id"] = number
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    storage.write_json(out_json, {"images": images, "annotations": objects, "categories": categories})
    difficult = sum(row["iscrowd"] for row in objects)
    return VocConversion(out_json, folders.images, names, len(images), len(objects), difficult, first_pixel)


def image_folder(voc_root: Path) -> Path:
    """The folder with the images of a VOC data set.

    Raises:
        DataError: there is no such data set.
    """
    return _find(voc_root).images


def _find(root: Path) -> _Folders:
    splits = root / "ImageSets" / "Main"
    if (root / "Annotations").is_dir():
        images = root / "JPEGImages"
        return _Folders(root / "Annotations", images if images.is_dir() else root / "images", splits)
    if next(root.glob("*.xml"), None) is not None:
        return _Folders(root, root, splits)
    raise DataError(f"{root}: no folder Annotations and no XML files here; name the root of a VOC data set")


def _read_all(folders: _Folders) -> dict[str, VocPicture]:
    paths = sorted(folders.annotations.glob("*.xml"))
    if not paths:
        raise DataError(f"{folders.annotations}: no XML files; a VOC data set has one for each image")
    return {path.stem: read_voc_xml(path) for path in paths}


def _read_split(path: Path) -> list[str]:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        there = sorted(p.stem for p in path.parent.glob("*.txt"))
        raise DataError(
            f"{path}: no such split; there are: {', '.join(there) or 'none'}, and '{ALL}' for every file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    # The lists of single classes have a second column, where -1 says that the class is not in the image.
    stems = [row[0] for row in rows if row[1:2] != ["-1"]]
    if not stems:
        raise DataError(f"{path}: the split lists no image")
    return list(dict.fromkeys(stems))


def _class_names(pictures: dict[str, VocPicture]) -> tuple[str, ...]:
    return tuple(sorted({object_.name for picture in pictures.values() for object_ in picture.objects}))


def _first_pixel(pictures: dict[str, VocPicture]) -> int:
    corners = [o.corners for picture in pictures.values() for o in picture.objects]
    return 0 if any(min(c[0], c[1]) < 1 for c in corners) else 1


def _image(picture: VocPicture, stem: str, folder: Path, number: int) -> dict[str, Any]:
    path = _image_path(picture, stem, folder)
    width, height = picture.size or _measure(path)
    return {"id": number, "file_name": path.name, "width": width, "height": height}


def _image_path(picture: VocPicture, stem: str, folder: Path) -> Path:
    # <filename> often survives a renaming of the file, so the XML file's own name comes first. Only the last
    # part of it counts: it must not lead out of the folder.
    named = Path(picture.file_name.replace("\\", "/")).name
    for name in (*(stem + suffix for suffix in _SUFFIXES), named):
        if name and (folder / name).is_file():
            return folder / name
    raise DataError(f"{picture.path}: no image '{stem}' with {', '.join(_SUFFIXES[:4])} in {folder}")


def _measure(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: damaged image: {error}; repair or remove it") from error


def _objects(picture: VocPicture, image_id: int, names: tuple[str, ...], first_pixel: int) -> list[dict[str, Any]]:
    rows = []
    for number, found in enumerate(picture.objects, start=1):
        if found.name not in names:
            raise DataError(f"{picture.path}: object {number} is a '{found.name}', not one of: {', '.join(names)}")
        # Pixel 1 begins at coordinate 0, and the last pixel, which is part of the object, ends at its number.
        left, top = found.corners[0] - first_pixel, found.corners[1] - first_pixel
        width, height = found.corners[2] - left, found.corners[3] - top
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
