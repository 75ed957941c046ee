"""The part of a recipe that says which network is built: one section for each source of detectors.

`detector.source` chooses the section. What another package registers as an entry point is a source too.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from lth_deploy.config.validation import Positive, Section
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


Part = Literal[
    "backbone", "fpn", "rpn", "box_head", "mask_head", "keypoint_head", "dense_head", "encoder", "decoder", "predictor"
]
"""Names of parts of a detector, by which layers are pruned and reported."""
_DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"


class ForeignSpec(Section):
    """What the sources beside torchvision have in common.

    min_size, max_size: images are shrunk to these sides when they are decoded; the detector itself resizes on.
    """

    weights: str = Field("none", description="none, or a file that holds every tensor of the detector")
    min_size: Positive = 800
    max_size: Positive = 1333
    score_threshold: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="least score of the detections that an export is compared by"
    )

    @property
    def name(self) -> str:
        """What messages call this detector."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What reports call this detector."""
        return self.name

    @property
    def load_size(self) -> tuple[int, int]:
        """Longest and shortest side in pixels that images are shrunk to when they are decoded."""
        return self.max_size, self.min_size


class ModuleSpec(ForeignSpec):
    """A detector of the user's own: an nn.Module of torchvision's detection protocol, made by a function."""

    source: Literal["module"]
    factory: Annotated[str, Field(pattern=f"^{_DOTTED}:{_DOTTED}$")] = Field(
        description="package.module:function, which is imported and called as function(classes, **options)"
    )
    options: dict[str, Any] = Field({}, description="what else the function is given, by the names of its arguments")
    parts: dict[Part, str] = Field({}, description="submodule of each part; of those inside of each other the inner")
    predictors: list[str] = Field([], description="layers whose outputs are logits and boxes; they stay dense")

    @property
    def name(self) -> str:
        """The factory."""
        return self.factory


class Detectron2Spec(Section):
    """A detector as a configuration of detectron2 says, on torchvision's modules.

    min_size, max_size: sides of the images in pixels, in place of those of the configuration.
    """

    source: Literal["detectron2"]
    name: Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet"] = Field(
        description="the kind of detector that the configuration is of"
    )
    config: str = Field(description="YAML file; what it stands on lies where it says")
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


class OwnTrainerSpec(ForeignSpec):
    """A network that `search_ticket` was given; only its run directory has this section.

    model: its class. digest: SHA-256 of its first weights, so that a search does not go on with others.
    """

    source: Literal["own_trainer"]
    model: str
    digest: str

    @property
    def name(self) -> str:
        """The class."""
        return self.model


class TransformersSpec(ForeignSpec):
    """A detector of the package transformers."""

    source: Literal["transformers"]
    model: str | None = Field(None, description="its name on the hub, or a folder with config.json and weights")
    revision: str | None = Field(None, description="of a model on the hub")
    config: dict[str, Any] = Field({}, description="keys of its configuration; all of it where no model is named")
    weights: str = Field("none", description="none, pretrained (those of `model`), or a file")
    size: Annotated[list[Annotated[int, Field(ge=32, le=4096)]], Field(min_length=2, max_length=2)] = Field(
        [640, 640], description="height and width in pixels that every image is stretched to"
    )
    norm: Literal["batch", "frozen"] = Field(
        "batch", description="batch: everything learns; frozen: what transformers freezes stays so"
    )
    detections: Positive = Field(100, description="most detections of an image")

    @property
    def name(self) -> str:
        """The model, or its architecture."""
        return self.model or f"transformers:{self.config.get('model_type')}"

    @property
    def load_size(self) -> tuple[int, int]:
        """Any longest side, and as shortest the longer one of the input, so that stretching loses nothing."""
        return LONGEST, max(self.size)

    @model_validator(mode="after")
    def _has_a_network(self) -> "TransformersSpec":
        if self.model is None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("name a model, or give config.model_type and what else its configuration needs")
        if self.model is None and self.weights == "pretrained":
            raise ValueError("weights 'pretrained' are those of a model, and none is named")
        return self


LONGEST = 16384


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
            raise ValueError(
                f"no source of detectors has this name{did_you_mean(source, {*SOURCES, *known})}; a package adds one "
                f"as an entry point of the group '{ENTRY_POINTS}'"
            )
        return source


SOURCES: Mapping[str, type[Section]] = {
    "torchvision": DetectorSpec,
    "module": ModuleSpec,
    "detectron2": Detectron2Spec,
    "own_trainer": OwnTrainerSpec,
    "transformers": TransformersSpec,
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
    | Annotated[PluginSpec, Tag("plugin")],
    Discriminator(_source_of),
]
"""The section of the source that the recipe names."""

NAMED_WEIGHTS = ("none", "backbone", "torchvision", "pretrained")
"""What `weights` may be beside a file."""
