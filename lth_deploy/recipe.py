"""The recipe: one YAML file that says detector, data, training and pruning, and nothing twice.

A recipe is validated in full before any work starts, and its resolved form is stored in the run.
"""

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lth_deploy import strict_yaml
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean

M = TypeVar("M", bound=BaseModel)

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]

FAMILIES = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssdlite")
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_large")


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DetectorSpec(Section):
    """Which network is built."""

    source: Literal["torchvision"] = "torchvision"
    name: Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssdlite"]
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_large"] = "resnet50"
    fpn_width: Positive = 256
    head_width: Positive = 1024
    anchor_sizes: list[Positive] | None = None
    aspect_ratios: list[Annotated[float, Field(gt=0)]] | None = None
    norm: Literal["batch", "frozen", "group"] = "batch"
    weights: str = Field("none", description="none, backbone, torchvision, or a file")
    frozen_layers: Annotated[int, Field(ge=0, le=5)] = 0
    min_size: Positive = 800
    max_size: Positive = 1333
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
        return self


class SplitSpec(Section):
    """One set of images: an annotation file (COCO) or split name (VOC), and the folder of images."""

    annotations: str
    images: str


class ShapesSpec(Section):
    """Size of the generated data set; it is drawn into the run directory when the run starts."""

    train: Positive = 200
    val: Positive = 50
    test: Positive = 50
    width: Annotated[int, Field(ge=32)] = 160
    height: Annotated[int, Field(ge=32)] = 160
    max_objects: Positive = 4
    seed: int = 0


class DataSpec(Section):
    """Where images and annotations come from. Paths are relative to the recipe's folder."""

    format: Literal["coco", "voc", "shapes"]
    train: SplitSpec | None = None
    val: SplitSpec | None = None
    test: SplitSpec | None = None
    shapes: ShapesSpec = ShapesSpec()
    drop_empty: bool = False
    drop_degenerate: bool = False

    @model_validator(mode="after")
    def _has_splits(self) -> "DataSpec":
        if self.format != "shapes" and (self.train is None or self.val is None):
            raise ValueError(
                f"format '{self.format}' needs the splits 'train' and 'val' (and may have 'test')"
            )
        if self.format == "shapes" and (self.train or self.val or self.test):
            raise ValueError("format 'shapes' draws its own images; remove train, val and test")
        return self


class OptimizerSpec(Section):
    """Optimizer and its constants."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4


class ScheduleSpec(Section):
    """Learning rate over the N steps of a training."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "step"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = 1e-3
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[2 / 3, 8 / 9], description="shares of N at which the rate is multiplied by gamma"
    )
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    rise: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="share of a one_cycle that rises")


class TrainingSpec(Section):
    """One training of N steps."""

    steps: Positive | None = None
    epochs: Positive | None = None
    batch_size: Positive = 16
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    amp: Literal["off", "bf16", "fp16"] = "off"
    seed: int = 0
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 leaves torch's own choice")
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _one_length(self) -> "TrainingSpec":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give the length of a training once, as 'steps' or as 'epochs'")
        return self

    def total_steps(self, batches_per_epoch: int) -> int:
        """N, the number of optimizer steps of the dense training."""
        return self.steps if self.steps is not None else int(self.epochs or 0) * batches_per_epoch


class RoundsSpec(Section):
    """An exponential series of levels: `rounds` levels, each keeping the same share of the one before."""

    to: Annotated[float, Field(gt=0, lt=1)]
    rounds: Positive = 1

    def levels(self) -> list[float]:
        """Cumulative sparsity after each round."""
        keep = (1.0 - self.to) ** (1.0 / self.rounds)
        return [*(round(1.0 - keep**r, 6) for r in range(1, self.rounds)), self.to]


class RewindSpec(Section):
    """The point k that a ticket goes back to, as a step or as an epoch of the dense training."""

    step: Annotated[int, Field(ge=0)] | None = None
    epoch: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_point(self) -> "RewindSpec":
        if (self.step is None) == (self.epoch is None):
            raise ValueError("give the rewind point once, as 'step' or as 'epoch'")
        return self

    def at(self, batches_per_epoch: int) -> int:
        """K in optimizer steps."""
        return self.step if self.step is not None else round(float(self.epoch or 0) * batches_per_epoch)


class PruningSpec(Section):
    """How the ticket is searched: every axis is its own key."""

    levels: list[Annotated[float, Field(gt=0, lt=1)]] | RoundsSpec = RoundsSpec(to=0.8)
    criterion: str = "magnitude"
    allocation: Literal["global", "per_layer", "macs"] = "global"
    structure: Literal["single", "in4", "2x4", "out2"] = "single"
    restart: Literal["weights", "learning_rate", "fine_tune"] = "weights"
    rewind: RewindSpec = RewindSpec(epoch=1)
    budget: Literal["continue", "full"] = "continue"
    scope: Literal["default", "paper"] = "default"
    include: list[str] = ["*"]
    exclude: list[str] = []
    fine_tune_lr: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _rising(self) -> "PruningSpec":
        levels = self.level_list()
        if not levels or any(b <= a for a, b in itertools.pairwise(levels)):
            raise ValueError(f"levels must rise and not be empty, found {levels}")
        return self

    def level_list(self) -> list[float]:
        """Cumulative sparsity of each level, rising."""
        return self.levels.levels() if isinstance(self.levels, RoundsSpec) else list(self.levels)


class ControlsSpec(Section):
    """Trainings that a ticket is compared with, beside the dense one that always runs."""

    random: list[Share] = []
    reinit: list[Share] = []


class SelectionSpec(Section):
    """Which level wins: the sparsest within `tolerance` (AP as a fraction) of the dense control on val."""

    tolerance: Annotated[float, Field(ge=0)] = 0.01
    metric: Literal["bbox", "segm", "keypoints"] = "bbox"
    bootstrap_samples: Positive = 1000


class Recipe(Section):
    """Everything that `find-ticket` needs."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    detector: DetectorSpec
    data: DataSpec
    training: TrainingSpec
    pruning: PruningSpec = PruningSpec()
    controls: ControlsSpec = ControlsSpec()
    selection: SelectionSpec = SelectionSpec()

    @model_validator(mode="after")
    def _controls_have_tickets(self) -> "Recipe":
        levels = self.pruning.level_list()
        for kind in ("random", "reinit"):
            for share in getattr(self.controls, kind):
                if share not in levels:
                    raise ValueError(f"controls.{kind}: {share} is not one of the levels {levels}")
        return self

    def digest(self) -> str:
        """Hex SHA-256 over the values that are not defaults, so that new keys leave old recipes' digests."""
        explicit = self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(explicit, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved recipe, every default written out."""
        return strict_yaml.dump(self.model_dump(mode="json"))


def load_recipe(path: Path, overrides: list[str] | None = None, *, check_variables: bool = True) -> Recipe:
    """Read a recipe; paths in it become absolute, `overrides` are `key.path=value`.

    `check_variables` refuses paths with environment variables that are not set.

    Raises:
        RecipeError: file, line, key path, value and the nearest valid key of what is wrong.
    """
    document = strict_yaml.load(path)
    recipe = recipe_from(document, overrides)
    return _absolute(recipe, path.resolve().parent, check_variables)


def recipe_from(document: strict_yaml.Document, overrides: list[str] | None = None) -> Recipe:
    """Validate a parsed document; see `load_recipe`."""
    return validate(Recipe, document, overrides)


def validate(model: type[M], document: strict_yaml.Document, overrides: list[str] | None = None) -> M:
    """Validate `document` against a pydantic model, with errors that point into the file.

    Raises:
        RecipeError: see `load_recipe`.
    """
    if not isinstance(document.value, dict):
        raise RecipeError(
            f"{document.source}: a mapping of keys is needed, found {type(document.value).__name__}"
        )
    for override in overrides or []:
        _apply(document.value, override)
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise RecipeError(_explain(error, document, model)) from error


def _apply(value: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {override}: write it as key.path=value")
    parts = key.split(".")
    for part in parts[:-1]:
        value = value.setdefault(part, {})
        if not isinstance(value, dict):
            raise RecipeError(f"--set {override}: '{part}' holds a value, not keys")
    value[parts[-1]] = strict_yaml.parse(text, f"--set {key}").value


def _explain(error: ValidationError, document: strict_yaml.Document, model: type[BaseModel]) -> str:
    messages = []
    for fault in error.errors():
        path = tuple(part for part in fault["loc"] if isinstance(part, int) or _is_key(part))
        where = ".".join(str(part) for part in path) or "the recipe"
        text = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            text = f"unknown key{did_you_mean(str(path[-1]), _keys_at(model, path[:-1]))}"
        elif fault["type"] == "missing":
            text = "this key is missing and has no default"
        elif not isinstance(fault.get("input"), dict):
            text += f"; found {fault.get('input')!r}"
        messages.append(f"{document.source}, line {document.line_of(path)}: {where}: {text}")
    return "\n".join(dict.fromkeys(messages))


def _is_key(part: object) -> bool:
    # pydantic adds the names of union members to a location; they are no keys of the file.
    return isinstance(part, str) and part.isidentifier() and not part[0].isupper()


def _keys_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(str(part))
        nested = field and _nested_model(field.annotation)
        if not nested:
            return []
        current = nested
    return list(current.model_fields)


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _absolute(recipe: Recipe, base: Path, check_variables: bool) -> Recipe:
    """Resolve the paths of a recipe against its own folder, with `~` and `${VARIABLES}` filled in."""

    def resolve(text: str) -> str:
        path = Path(os.path.expandvars(text)).expanduser()
        if check_variables and "$" in str(path):
            raise RecipeError(
                f"{text}: the environment variable in this path is not set; set it to your data's folder"
            )
        return str(path if path.is_absolute() else (base / path).resolve())

    def split(value: SplitSpec | None, is_voc: bool) -> SplitSpec | None:
        if value is None:
            return None
        annotations = value.annotations if is_voc else resolve(value.annotations)
        return SplitSpec(annotations=annotations, images=resolve(value.images))

    data, detector = recipe.data, recipe.detector
    voc = data.format == "voc"
    splits = {name: split(getattr(data, name), voc) for name in ("train", "val", "test")}
    if detector.weights not in ("none", "backbone", "torchvision"):
        detector = detector.model_copy(update={"weights": resolve(detector.weights)})
    return recipe.model_copy(update={"data": data.model_copy(update=splits), "detector": detector})
