"""The data sets of a recipe, by split."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import DataError
from lth_deploy.run.directory import GENERATED

if TYPE_CHECKING:
    from lth_deploy.data.coco.load import CocoDataset

log = logging.getLogger(__name__)

SplitFiles = dict[str, tuple[Path, Path]]
"""Annotation file and folder of images, by split."""


def load_splits(recipe: Recipe, run: Path) -> dict[str, "CocoDataset"]:
    """The data sets of a recipe by split; generated or converted annotations are kept under `run`/data.

    Raises:
        DataError: see `load_coco`.
    """
    return read_splits(recipe, split_files(recipe, run))


def read_splits(recipe: Recipe, files: SplitFiles) -> dict[str, "CocoDataset"]:
    """The data sets in `files` by split, read as the recipe says.

    Raises:
        DataError: see `load_coco`.
    """
    from lth_deploy.data.coco.load import load_coco

    splits = {
        name: load_coco(annotations, images, drop_degenerate=recipe.data.drop_degenerate)
        for name, (annotations, images) in files.items()
    }
    _check_same_categories(splits)
    return splits


def split_files(recipe: Recipe, run: Path) -> SplitFiles:
    """Annotation file and folder of images by split, generated or converted first where the recipe says so.

    Raises:
        DataError: the data cannot be converted.
    """
    data, folder = recipe.data, run / GENERATED
    files: SplitFiles = {}
    for name in ("train", "val", "test"):
        spec = getattr(data, name)
        if data.format == "shapes":
            annotations, images = _draw_shapes(recipe, folder, name)
        elif spec is None:
            continue
        elif data.format == "voc":
            from lth_deploy.data.voc.convert import convert_voc

            annotations = folder / f"{name}.json"
            made = convert_voc(Path(spec.images), spec.annotations, annotations)
            images = made.images
            for note in made.notes:
                log.warning("%s: %s", name, note)
        elif data.format == "folder":
            from lth_deploy.data.image_folder import convert_folder

            annotations = folder / f"{name}.json"
            images = convert_folder(Path(spec.images), annotations)
        elif data.format == "crops":
            from lth_deploy.data.crops import CropsPlan, cut_objects
            from lth_deploy.data.image_folder import convert_folder

            plan = CropsPlan(**data.crops.model_dump())
            cut_objects(Path(spec.annotations), Path(spec.images), folder / name, plan)
            annotations = folder / f"{name}.json"
            images = convert_folder(folder / name, annotations)
        else:
            annotations, images = Path(spec.annotations), Path(spec.images)
        files[name] = (annotations, images)
    return files


def _draw_shapes(recipe: Recipe, folder: Path, split: str) -> tuple[Path, Path]:
    from lth_deploy.data.shapes.generate import generate_shapes

    spec = recipe.data.shapes
    offset = ("train", "val", "test").index(split)
    generate_shapes(
        folder,
        split=split,
        count=getattr(spec, split),
        size=(spec.width, spec.height),
        seed=3 * spec.seed + offset,
        max_objects=spec.max_objects,
    )
    return folder / f"{split}.json", folder / split


def _check_same_categories(splits: Mapping[str, "CocoDataset"]) -> None:
    expected = [(c.id, c.name) for c in splits["train"].categories]
    for name, dataset in splits.items():
        found = [(c.id, c.name) for c in dataset.categories]
        if found != expected:
            raise DataError(f"split '{name}' has the categories {found}, the training split has {expected}")
