"""The recipe: one YAML file that says detector, data, training and pruning, and nothing twice.

A recipe is validated in full before any work starts, and its resolved form is stored in the run.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lth_deploy.config import strict_yaml
from lth_deploy.config.detector_spec import NAMED_WEIGHTS, AnyDetectorSpec, Detectron2Spec
from lth_deploy.config.foreign_specs import TransformersSpec
from lth_deploy.config.result_spec import QuantizationSpec, SelectionSpec
from lth_deploy.config.search_spec import ControlsSpec, PruningSpec, SourceSpec
from lth_deploy.config.tracking_spec import TrackingSpec
from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.config.validation import Positive, Section, Seed, absolute_path, validate


class SplitSpec(Section):
    """One set of images: an annotation file (COCO) or split name (VOC), and the folder of images (or of classes)."""

    annotations: str = ""
    images: str


class ShapesSpec(Section):
    """Size of the generated data set; it is drawn into the run directory when the run starts."""

    train: Positive = 200
    val: Positive = 50
    test: Positive = 50
    width: Annotated[int, Field(ge=32)] = 160
    height: Annotated[int, Field(ge=32)] = 160
    max_objects: Positive = 4
    seed: Seed = 0


class CropsSpec(Section):
    """How the objects of a detection data set are cut out for a classifier."""

    pad: Annotated[float, Field(ge=0, le=4)] = Field(0.2, description="margin on each side, as a share of the box")
    smallest: Positive = Field(8, description="least side of a box in pixels")
    most: Annotated[int, Field(ge=0)] = Field(0, description="so many objects a class at most; 0 takes all")


class DataSpec(Section):
    """Where images and annotations come from. Paths are relative to the recipe's folder."""

    format: Literal["coco", "voc", "shapes", "folder", "crops", "own"]
    train: SplitSpec | None = None
    val: SplitSpec | None = None
    test: SplitSpec | None = None
    shapes: ShapesSpec = ShapesSpec()
    crops: CropsSpec = CropsSpec()
    drop_empty: bool = False
    drop_degenerate: bool = False

    @model_validator(mode="after")
    def _has_splits(self) -> "DataSpec":
        without = ("shapes", "own")
        if self.format not in without and (self.train is None or self.val is None):
            raise ValueError(f"format '{self.format}' needs the splits 'train' and 'val' (and may have 'test')")
        if self.format in without and (self.train or self.val or self.test):
            what = "draws its own images" if self.format == "shapes" else "has no images here"
            raise ValueError(f"format '{self.format}' {what}; remove train, val and test")
        for name in ("train", "val", "test"):
            split = getattr(self, name)
            if split is not None and bool(split.annotations) != (self.format != "folder"):
                what = "has no annotations but the names of its folders" if self.format == "folder" else "needs them"
                raise ValueError(f"{name}.annotations: format '{self.format}' {what}")
        return self


class Recipe(Section):
    """Everything that `find-ticket` needs."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    detector: AnyDetectorSpec
    data: DataSpec
    training: TrainingSpec
    pruning: PruningSpec = PruningSpec()
    source: SourceSpec | None = None
    controls: ControlsSpec = ControlsSpec()
    quantization: QuantizationSpec = QuantizationSpec()
    selection: SelectionSpec = SelectionSpec()
    tracking: TrackingSpec = Field(TrackingSpec(), description="where the search reports its figures")
    out: str | None = Field(None, description="run directory, or a URL of fsspec such as s3://bucket/run; see --out")

    @model_validator(mode="after")
    def _controls_have_tickets(self) -> "Recipe":
        levels = self.pruning.level_list()
        for kind in ("random", "reinit"):
            for share in getattr(self.controls, kind):
                if share not in levels:
                    raise ValueError(f"controls.{kind}: {share} is not one of the levels {levels}")
        for share in self.quantization.levels:
            if share not in (0.0, *levels):
                raise ValueError(f"quantization.levels: {share} is neither 0 nor one of the levels {levels}")
        if len(set(self.quantization.levels)) < len(self.quantization.levels):
            raise ValueError(f"quantization.levels: a level is there twice, found {self.quantization.levels}")
        return self

    @model_validator(mode="after")
    def _classes_of_images_are_for_classifiers(self) -> "Recipe":
        if (self.detector.name == "classifier") != (self.data.format in ("folder", "crops")):
            raise ValueError(f"detector '{self.detector.name}' cannot learn from data of format '{self.data.format}'")
        if self.detector.name == "classifier" and self.quantization.levels:
            raise ValueError("quantization.levels: a classifier is not exported; leave them out")
        if self.detector.name == "classifier" and self.training.augment.zoom != [1.0, 1.0]:
            raise ValueError("training.augment.zoom is for detectors; a classifier's crops are detector.crop_scale")
        return self

    @model_validator(mode="after")
    def _controls_are_trained(self) -> "Recipe":
        if self.pruning.schedule == "post_training" and (self.controls.random or self.controls.reinit):
            raise ValueError("controls are trained, tickets of schedule 'post_training' are not; leave controls out")
        if self.pruning.schedule != "post_training" and self.training.steps == 0:
            raise ValueError("training.steps is 0, which only pruning.schedule 'post_training' can work with")
        if self.training.steps == 0 and self.detector.weights == "none":
            raise ValueError("training.steps is 0 and detector.weights 'none': there is nothing trained to prune")
        return self

    @model_validator(mode="after")
    def _a_source_is_trained_from_its_first_step(self) -> "Recipe":
        fixed = {
            "restart": "weights",
            "budget": "continue",
            "schedule": "levels",
            "share_of": "prunable",
            "permute": "none",
            "early_masks": None,
        }
        for key, value in fixed.items():
            if self.source is not None and getattr(self.pruning, key) != value:
                raise ValueError(f"a ticket from a source trains all steps under its mask; leave pruning.{key} out")
        return self

    def digest(self) -> str:
        """Hex SHA-256 over the values that are not defaults, so that new keys leave old recipes' digests."""
        explicit = self.model_dump(mode="json", exclude_defaults=True, exclude={"out", "tracking"})
        if "precision" in explicit["training"]:
            explicit["training"]["amp"] = explicit["training"].pop("precision")  # its former name
        return hashlib.sha256(json.dumps(explicit, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved recipe, every default written out."""
        return strict_yaml.dump(self.model_dump(mode="json"))


def load_recipe(
    path: Path, overrides: list[str] | None = None, *, check_variables: bool = True, option: str = "--set "
) -> Recipe:
    """Read a recipe; paths in it become absolute, `overrides` are `key.path=value`.

    `check_variables` refuses paths with environment variables that are not set. `option` is what stands before an
    override in errors.

    Raises:
        RecipeError: file, line, key path, value and the nearest valid key of what is wrong.
    """
    recipe = validate(Recipe, strict_yaml.load(path), overrides, option=option)
    return _absolute(recipe, path.resolve().parent, path, check_variables)


def recipe_from(document: strict_yaml.Document, overrides: list[str] | None = None) -> Recipe:
    """Validate a parsed document; see `load_recipe`."""
    return validate(Recipe, document, overrides)


def _absolute(recipe: Recipe, base: Path, source: Path, check_variables: bool) -> Recipe:
    """Resolve the paths of a recipe against its own folder, with `~` and `${VARIABLES}` filled in."""

    def resolve(text: str, key: str) -> str:
        return absolute_path(text, base, f"{source}: {key}", check_variables)

    def split(name: str) -> SplitSpec | None:
        value: SplitSpec | None = getattr(recipe.data, name)
        if value is None:
            return None
        annotations = value.annotations  # of VOC: the name of a list, no path
        if recipe.data.format not in ("voc", "folder"):
            annotations = resolve(annotations, f"data.{name}.annotations")
        return SplitSpec(annotations=annotations, images=resolve(value.images, f"data.{name}.images"))

    splits = {name: split(name) for name in ("train", "val", "test")}
    detector = recipe.detector
    if detector.weights not in NAMED_WEIGHTS:
        detector = detector.model_copy(update={"weights": resolve(detector.weights, "detector.weights")})
    if isinstance(detector, Detectron2Spec):
        detector = detector.model_copy(update={"config": resolve(detector.config, "detector.config")})
    model = detector.model if isinstance(detector, TransformersSpec) else None
    # A name on the hub has no folder; one that begins like a path is meant as one.
    if model is not None and (model.startswith((".", "/", "~", "$")) or (base / model).is_dir()):
        detector = detector.model_copy(update={"model": resolve(model, "detector.model")})
    ticket = recipe.source
    if ticket is not None and "://" not in ticket.run:
        ticket = ticket.model_copy(update={"run": resolve(ticket.run, "source.run")})
    data = recipe.data.model_copy(update=splits)
    tracking, board, store = recipe.tracking, recipe.tracking.tensorboard, recipe.tracking.mlflow
    if board is not None and board.folder is not None:
        board = board.model_copy(update={"folder": resolve(board.folder, "tracking.tensorboard.folder")})
    if store is not None and store.uri is not None and "://" not in store.uri:
        store = store.model_copy(update={"uri": resolve(store.uri, "tracking.mlflow.uri")})
    tracking = tracking.model_copy(update={"tensorboard": board, "mlflow": store})
    return recipe.model_copy(update={"data": data, "detector": detector, "source": ticket, "tracking": tracking})
