"""The recipe: one YAML file that says detector, data, training and pruning, and nothing twice.

A recipe is validated in full before any work starts, and its resolved form is stored in the run.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from lth_deploy.config import strict_yaml
from lth_deploy.config.result_spec import QuantizationSpec, SelectionSpec
from lth_deploy.config.search_spec import ControlsSpec, PruningSpec, SourceSpec
from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.config.validation import Positive, Section, Seed, absolute_path, validate

Family = Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssdlite", "classifier"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class DetectorSpec(Section):
    """Which network is built."""

    source: Literal["torchvision"] = "torchvision"
    name: Family
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_large"] = "resnet50"
    layout: Literal["fpn", "c4"] = Field(
        "fpn", description="of Faster R-CNN: a feature pyramid, or one level of stride 16 and layer4 on each region"
    )
    roi_cells: Annotated[int, Field(ge=2, le=64)] = Field(
        14, description="layout c4: cells along a region's side before layer4, which halves them"
    )
    fpn_width: Positive = 256
    head_width: Positive = 1024
    head_init: Literal["published", "kaiming"] = Field(
        "published", description="first weights of RetinaNet's towers: N(0, 0.01) as published, or scaled by fan-in"
    )
    anchor_sizes: list[Positive] | None = None
    aspect_ratios: list[Annotated[float, Field(gt=0)]] | None = None
    norm: Literal["batch", "frozen", "group"] = "batch"
    weights: str = Field("none", description="none, backbone, torchvision, or a file")
    frozen_layers: Annotated[int, Field(ge=0, le=5)] = 0
    min_size: Positive = 800
    max_size: Positive = 1333
    crop_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        0.08, description="least share of an image that a classifier's random training crop shows"
    )
    proposals: Positive = 1000
    detections: Positive = 100
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    nms_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _consistent(self) -> "DetectorSpec":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is larger than max_size {self.max_size}")
        mobile = self.backbone == "mobilenet_v3_large"
        if (self.name == "ssdlite") != mobile:
            raise ValueError(f"detector '{self.name}' cannot stand on backbone '{self.backbone}'")
        if self.head_init != "published" and self.name != "retinanet":
            raise ValueError(
                f"head_init '{self.head_init}' is for retinanet; '{self.name}' has no towers of plain convs"
            )
        for fault in self._layout_faults():
            raise ValueError(fault)
        return self

    def _layout_faults(self) -> Iterator[str]:
        """What the layout has no place for; a key counts as given where it is not its default."""
        foreign = ("fpn_width", "head_width") if self.layout == "c4" else ("roi_cells",)
        for key in foreign:
            if getattr(self, key) != type(self).model_fields[key].default:
                yield f"{key} {getattr(self, key)} means nothing in layout '{self.layout}'; leave it out"
        if self.layout == "c4" and self.name != "faster_rcnn":
            yield f"layout 'c4' is for faster_rcnn; '{self.name}' has no such form, so leave the key out"
        if self.layout == "c4" and self.frozen_layers > 4:
            yield "frozen_layers 5 would freeze layer4, which is the box head in layout 'c4'; freeze 4 at most"


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

    format: Literal["coco", "voc", "shapes", "folder", "crops"]
    train: SplitSpec | None = None
    val: SplitSpec | None = None
    test: SplitSpec | None = None
    shapes: ShapesSpec = ShapesSpec()
    crops: CropsSpec = CropsSpec()
    drop_empty: bool = False
    drop_degenerate: bool = False

    @model_validator(mode="after")
    def _has_splits(self) -> "DataSpec":
        if self.format != "shapes" and (self.train is None or self.val is None):
            raise ValueError(f"format '{self.format}' needs the splits 'train' and 'val' (and may have 'test')")
        if self.format == "shapes" and (self.train or self.val or self.test):
            raise ValueError("format 'shapes' draws its own images; remove train, val and test")
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
    detector: DetectorSpec
    data: DataSpec
    training: TrainingSpec
    pruning: PruningSpec = PruningSpec()
    source: SourceSpec | None = None
    controls: ControlsSpec = ControlsSpec()
    quantization: QuantizationSpec = QuantizationSpec()
    selection: SelectionSpec = SelectionSpec()

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
        explicit = self.model_dump(mode="json", exclude_defaults=True)
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
    if detector.weights not in ("none", "backbone", "torchvision"):
        detector = detector.model_copy(update={"weights": resolve(detector.weights, "detector.weights")})
    ticket = recipe.source
    if ticket is not None:
        ticket = ticket.model_copy(update={"run": resolve(ticket.run, "source.run")})
    data = recipe.data.model_copy(update=splits)
    return recipe.model_copy(update={"data": data, "detector": detector, "source": ticket})
