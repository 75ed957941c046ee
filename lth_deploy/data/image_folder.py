"""An image folder, CLASS/IMAGE, turned into a COCO file: every image is one object that fills it."""

from pathlib import Path

from lth_deploy import storage
from lth_deploy.data.images import SUFFIXES, is_image_name, read_header
from lth_deploy.data.json_values import FaultError, printable
from lth_deploy.errors import DataError

_PACKED_BY_MACOS = "__MACOSX"


def convert_folder(root: Path, out_json: Path) -> Path:
    """Write the images below `root` as a COCO file; returns `root`, where its file names begin.

    Classes are the folders in `root`, in order of their names, and get ids 1, 2, ...; images may lie deeper.

    Raises:
        DataError: there are no class folders, one of them has no images, or a file is no image.
    """
    found = (entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else ()
    folders = sorted(entry for entry in found if not entry.name.startswith((".", _PACKED_BY_MACOS)))
    if not folders:
        raise DataError(f"{root} is no image folder; it must hold one folder a class, with that class's images")
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for label, folder in enumerate(folders, start=1):
        files = sorted(file for file in folder.rglob("*") if is_image_name(file))
        if not files:
            raise DataError(f"{folder} has no images ({', '.join(SUFFIXES)}); add some or remove the class")
        for file in files:
            number = len(images) + 1
            width, height = _size(file)
            name = file.relative_to(root).as_posix()
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            whole = {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0}
            annotations.append({"id": number, "image_id": number, "category_id": label, **whole})
    categories = [{"id": label, "name": folder.name} for label, folder in enumerate(folders, start=1)]
    storage.write_json(out_json, {"images": images, "annotations": annotations, "categories": categories})
    return root


def _size(file: Path) -> tuple[int, int]:
    try:
        return read_header(file).size
    except FaultError as fault:
        raise DataError(f"{printable(file)}: no image that can be read: {fault}") from fault
