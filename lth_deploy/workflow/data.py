"""What `lth-deploy data check | coco | from-voc | crops | shapes` do, as functions that return what they found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from lth_deploy import storage
from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.layout import FileReport, check_layout
from lth_deploy.data.crops import CropsPlan, cut_objects, require_crops
from lth_deploy.data.findings import CheckReport
from lth_deploy.data.shapes.generate import ShapesOptions, ShapesPlan, generate_shapes
from lth_deploy.data.voc.convert import VocConversion, convert_voc
from lth_deploy.errors import UsageError


def check_data(annotations: Path, images: Path, *, decode_images: bool = True) -> CheckReport:
    """Every fault of a COCO data set; `passed` of the result says whether there is none."""
    return check_coco(annotations, images, decode_images)


def check_coco_folder(folder: Path, *, decode_images: bool = False) -> list[FileReport]:
    """The annotation files and images of COCO 2017 below `folder`, beside the published numbers; see `check_layout`."""
    return check_layout(folder, decode_images=decode_images)


def data_from_voc(voc_root: Path, split: str, out: Path) -> VocConversion:
    """Write a split of a Pascal VOC folder ('all' for all of it) as the COCO file `out`.

    Raises:
        DataError: something in the folder is missing or damaged.
    """
    return convert_voc(voc_root, split, out)


def crop_objects(
    annotations: Path, images: Path, out: Path, *, pad: float = 0.2, smallest: int = 8, most: int = 0
) -> dict[str, int]:
    """Write the objects of a COCO data set as the image folder `out`; number of images by class. See `cut_objects`.

    Raises:
        DataError: the data set is faulty, or a class has no object to cut.
        UsageError: `out` holds something else, or a parameter is out of range.
    """
    plan = CropsPlan(pad, smallest, most)
    with storage.locked(out, lambda: require_crops(out)):
        return cut_objects(annotations, images, out, plan)


def draw_shapes(out: Path, counts: Mapping[str, int], **options: Unpack[ShapesOptions]) -> dict[str, Path]:
    """Draw splits of the generated data set under `out`: images by split name in, annotation files out.

    Raises:
        UsageError: no split, or parameters that cannot be drawn; nothing is drawn then.
    """
    if not counts:
        raise UsageError("no split was asked for; give the number of images of one at least")
    for split, count in counts.items():
        ShapesPlan(split, count, **options)
    with storage.locked(out):
        return {split: generate_shapes(out, split=split, count=count, **options) for split, count in counts.items()}
