"""The sections of sources whose detectors come from other packages, or from the user."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lth_deploy.config.validation import Positive, Section

LONGEST = 16384
"""More than the longest side of any image, in pixels."""

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
    factory: str = Field(
        description="package.module:function, which is imported and called as function(classes, **options)"
    )
    options: dict[str, Any] = Field({}, description="what else the function is given, by the names of its arguments")
    parts: dict[Part, str] = Field({}, description="submodule of each part; of those inside of each other the inner")
    predictors: list[str] = Field([], description="layers whose outputs are logits and boxes; they stay dense")

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, factory: str) -> str:
        if not re.fullmatch(f"{_DOTTED}:{_DOTTED}", factory):
            raise ValueError("a function is named as package.module:function")
        return factory

    @property
    def name(self) -> str:
        """The factory."""
        return self.factory


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


LibreyoloModel = Literal[
    "yolox_nano",
    "yolox_tiny",
    "yolox_s",
    "yolox_m",
    "yolox_l",
    "yolox_x",
    "yolov9_t",
    "yolov9_s",
    "yolov9_m",
    "yolov9_c",
]


class LibreyoloSpec(ForeignSpec):
    """A detector of the package libreyolo."""

    source: Literal["libreyolo"]
    model: LibreyoloModel = Field(description="family and size")
    size: Annotated[list[Annotated[int, Field(ge=64, le=4096, multiple_of=32)]], Field(min_length=2, max_length=2)] = (
        Field([640, 640], description="height and width in pixels that images are fitted into, with gray beside them")
    )
    l1_loss: bool = Field(False, description="of YOLOX: offsets and sizes of boxes have an L1 loss too, from the start")
    auxiliary: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="of YOLOv9: weight of the losses of an auxiliary neck and head, which are only trained"
    )

    @property
    def name(self) -> str:
        """The model."""
        return self.model

    @property
    def load_size(self) -> tuple[int, int]:
        """Any longest side, and as shortest the longer one of the input, so that the letterbox loses nothing."""
        return LONGEST, max(self.size)

    @model_validator(mode="after")
    def _family_has_the_loss(self) -> "LibreyoloSpec":
        if self.l1_loss and not self.model.startswith("yolox"):
            raise ValueError(f"l1_loss is a loss of YOLOX, and model is '{self.model}'; leave it out")
        if self.auxiliary and not self.model.startswith("yolov9"):
            raise ValueError(f"auxiliary is a branch of YOLOv9, and model is '{self.model}'; leave it out")
        return self
