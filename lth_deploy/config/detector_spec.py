"""The part of a recipe that says which network is built: one section for each source of detectors.

`detector.source` chooses the section. What another package registers as an entry point is a source too.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lth_deploy.config.foreign_specs import (
    ForeignSpec,
    LibreyoloSpec,
    ModuleSpec,
    OwnTrainerSpec,
    TransformersSpec,
)
from lth_deploy.config.validation import UNKNOWN_KIND, Positive, Section
from lth_deploy.registry import did_you_mean

ENTRY_POINTS = "lth_deploy.detectors"
"""Group of the entry points by which other packages add sources."""

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

    @property
    def title(self) -> str:
        """What reports call this detector."""
        return f"{self.name}, {self.backbone}"

    @property
    def load_size(self) -> tuple[int, int]:
        """Longest and shortest side in pixels that images are shrunk to when they are decoded."""
        return self.max_size, self.min_size

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


class Detectron2Spec(Section):
    """A detector as a configuration of detectron2 says, on torchvision's modules or, where it is installed, its own.

    min_size, max_size: sides of the images in pixels, in place of those of the configuration.
    """

    source: Literal["detectron2"]
    name: Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet"] = Field(
        description="the kind of detector that the configuration is of"
    )
    config: str = Field(description="YAML file; what it stands on lies where it says")
    modules: Literal["torchvision", "detectron2"] = Field(
        "torchvision", description="whose modules and losses are trained; the export is torchvision's in both cases"
    )
    weights: str = Field(
        "none",
        description="none, or a checkpoint: .pth, .pkl, or .safetensors with the names of torchvision",
    )
    min_size: Positive = 800
    max_size: Positive = 1333
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05

    @property
    def title(self) -> str:
        """What reports call this detector."""
        return f"{self.name}, {Path(self.config).stem} of detectron2"

    @property
    def load_size(self) -> tuple[int, int]:
        """Longest and shortest side in pixels that images are shrunk to when they are decoded."""
        return self.max_size, self.min_size


class PluginSpec(ForeignSpec):
    """A detector of a source that another package registers; `options` are that package's."""

    source: str
    options: dict[str, Any] = Field({}, description="as that package has them")

    @property
    def name(self) -> str:
        """The source, and the model where the options name one."""
        model = self.options.get("model")
        return f"{self.source}:{model}" if isinstance(model, str) else self.source

    @field_validator("source")
    @classmethod
    def _is_registered(cls, source: str) -> str:
        known = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
        if source not in known:
            # A search around a loop of the user's own has no recipe that could name its source.
            nearest = did_you_mean(source, {*SOURCES, *known} - {"own_trainer"})
            text = (
                f"no source of detectors has this name{nearest}; a package adds one as an entry point of the group "
                f"'{ENTRY_POINTS}'"
            )
            raise PydanticCustomError(UNKNOWN_KIND, "{text}", {"text": text})
        return source


SOURCES: Mapping[str, type[Section]] = {
    "torchvision": DetectorSpec,
    "module": ModuleSpec,
    "detectron2": Detectron2Spec,
    "own_trainer": OwnTrainerSpec,
    "transformers": TransformersSpec,
    "libreyolo": LibreyoloSpec,
}
"""The section of each source that comes with this package."""


def _source_of(value: Any) -> str:
    found = value.get("source", "torchvision") if isinstance(value, dict) else getattr(value, "source", "")
    return found if found in SOURCES else "plugin"


AnyDetectorSpec = Annotated[
    Annotated[DetectorSpec, Tag("torchvision")]
    | Annotated[ModuleSpec, Tag("module")]
    | Annotated[Detectron2Spec, Tag("detectron2")]
    | Annotated[OwnTrainerSpec, Tag("own_trainer")]
    | Annotated[TransformersSpec, Tag("transformers")]
    | Annotated[LibreyoloSpec, Tag("libreyolo")]
    | Annotated[PluginSpec, Tag("plugin")],
    Discriminator(_source_of),
]
"""The section of the source that the recipe names."""

NAMED_WEIGHTS = ("none", "backbone", "torchvision", "pretrained")
"""What `weights` may be beside a file."""
