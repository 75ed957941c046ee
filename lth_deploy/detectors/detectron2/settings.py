"""What a configuration of detectron2 says of a trained detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lth_deploy.config.detector_spec import Family
from lth_deploy.detectors.detectron2 import keys
from lth_deploy.detectors.detectron2.yaml_file import Value, read_values
from lth_deploy.errors import DataError
from lth_deploy.registry import did_you_mean

T = TypeVar("T")
Layout = Literal["fpn", "c4"]
DEPTHS = {18: "resnet18", 34: "resnet34", 50: "resnet50", 101: "resnet101"}
NORMS = ("FrozenBN", "BN", "SyncBN")
RETINANET, TWO_STAGE = "RetinaNet", "GeneralizedRCNN"
LAST_STAGE_HEADS = "Res5ROIHeads"
LEVELS = 5
STAGES = 5
DEEP = 50
"""From this depth on blocks have three convolutions, as those of the last stage as a head always have."""


@dataclass(frozen=True)
class Roi:
    """How regions are read: cells along a side, and samples along a side of a cell (0: as many as it has pixels)."""

    cells: int
    sampling_ratio: int


@dataclass(frozen=True)
class Image:
    """What is done to an image: channel order, mean and deviation in that order (0..255), and sizes in pixels."""

    order: Literal["BGR", "RGB"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_size: int
    max_size: int


@dataclass(frozen=True)
class Settings:
    """A trained detector of detectron2.

    layout: c4 is one feature level of stride 16, with the last stage of the ResNet as the head. frozen_stages: of the
    backbone, from the stem up, that training leaves alone. frozen_norms: whether it leaves all norms of the backbone
    alone. sizes, ratios: of the anchors, one list for each feature level. offset: of the anchors,
    as a share of the stride. datasets: names of the data that it was trained on.
    """

    family: Family
    layout: Layout
    depth: int
    stride_in_1x1: bool
    frozen_stages: int
    frozen_norms: bool
    fpn_width: int
    classes: int
    datasets: tuple[str, ...]
    image: Image
    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[tuple[float, ...], ...]
    offset: float
    candidates: int
    proposals: int
    proposal_nms: float
    proposal_weights: tuple[float, ...]
    score_threshold: float
    nms_threshold: float
    detections: int
    box_weights: tuple[float, ...]
    box_roi: Roi
    head_width: int
    boxes_without_class: bool
    mask_roi: Roi
    mask_widths: tuple[int, ...]
    mask_width: int
    masks_without_class: bool
    keypoint_roi: Roi
    keypoint_widths: tuple[int, ...]
    keypoints: int

    @property
    def backbone(self) -> str:
        """Torchvision's name."""
        return DEPTHS[self.depth]


def read_settings(path: Path) -> Settings:
    """Read a YAML configuration and what it stands on.

    Raises:
        DataError: it cannot be read, has a value of another type, or asks for what torchvision's modules do not have:
            each key is named.
    """
    config = _Config(path, read_values(path))
    family = config.family()
    layout = config.layout(family)
    config.check(family, layout)
    return config.settings(family, layout)


class _Config:
    def __init__(self, path: Path, values: Mapping[str, Value]) -> None:
        self.path, self.values = path, values

    def family(self) -> Family:
        architecture = self.get("MODEL.META_ARCHITECTURE", str)
        if architecture == RETINANET:
            return "retinanet"
        if architecture != TWO_STAGE:
            raise self.fault("MODEL.META_ARCHITECTURE", f"'{TWO_STAGE}' or '{RETINANET}'")
        masks, keypoints = self.get("MODEL.MASK_ON", bool), self.get("MODEL.KEYPOINT_ON", bool)
        if masks and keypoints:
            raise self.fault("MODEL.KEYPOINT_ON", "False where MODEL.MASK_ON is True")
        return "mask_rcnn" if masks else "keypoint_rcnn" if keypoints else "faster_rcnn"

    def layout(self, family: Family) -> Layout:
        name = self.values.get("MODEL.ROI_HEADS.NAME")
        if family == "retinanet" or (name is not None and name.value != LAST_STAGE_HEADS):
            return "fpn"
        if family == "keypoint_rcnn":
            raise self.fault("MODEL.KEYPOINT_ON", f"False where MODEL.ROI_HEADS.NAME is '{LAST_STAGE_HEADS}'")
        if self.get("MODEL.RESNETS.DEPTH", int) < DEEP:
            raise self.fault("MODEL.RESNETS.DEPTH", f"50 or 101 where MODEL.ROI_HEADS.NAME is '{LAST_STAGE_HEADS}'")
        return "c4"

    def check(self, family: Family, layout: Layout) -> None:
        """Refuse values that are not converted, and keys of the model that are unknown."""
        two_stage = keys.ONLY_C4 if layout == "c4" else keys.ONLY_TWO_STAGE
        only = {**keys.ONLY, **(two_stage if family != "retinanet" else keys.ONLY_RETINANET)}
        only |= keys.ONLY_MASKS if family == "mask_rcnn" else {}
        only |= keys.ONLY_KEYPOINTS if family == "keypoint_rcnn" else {}
        for key, (value, default) in only.items():
            found = self.values[key].value if key in self.values else default
            if _plain(found) != value:
                raise self.fault(key, repr(value), found)
        if self.get("MODEL.RESNETS.NORM", str) not in NORMS:
            raise self.fault("MODEL.RESNETS.NORM", " or ".join(NORMS))
        known = {*keys.DEFAULTS, *keys.ONLY, *keys.ONLY_TWO_STAGE, *keys.ONLY_MASKS, *keys.ONLY_KEYPOINTS}
        known |= set(keys.ONLY_RETINANET)
        for key, value in self.values.items():
            if key.startswith("MODEL.") and key not in known and not key.startswith(keys.WITHOUT_EFFECT):
                hint = did_you_mean(key, sorted(known))
                raise DataError(f"{value.file}: {key} is not a key of detectron2's models{hint}; remove it")

    def settings(self, family: Family, layout: Layout) -> Settings:
        two_stage = family != "retinanet"
        levels = 1 if layout == "c4" else LEVELS
        heads = "ROI_HEADS" if two_stage else "RETINANET"
        depth = self.get("MODEL.RESNETS.DEPTH", int)
        if depth not in DEPTHS:
            raise self.fault("MODEL.RESNETS.DEPTH", " or ".join(str(one) for one in DEPTHS))
        channels = self.get("MODEL.RESNETS.RES2_OUT_CHANNELS", int)
        if channels != (256 if depth >= 50 else 64):
            raise self.fault("MODEL.RESNETS.RES2_OUT_CHANNELS", f"{256 if depth >= 50 else 64} at depth {depth}")
        candidates = "MODEL.RPN.PRE_NMS_TOPK_TEST" if two_stage else "MODEL.RETINANET.TOPK_CANDIDATES_TEST"
        mask_width, layers = self.count("MODEL.ROI_MASK_HEAD.CONV_DIM"), self.count("MODEL.ROI_MASK_HEAD.NUM_CONV", 0)
        return Settings(
            family=family,
            layout=layout,
            depth=depth,
            stride_in_1x1=self.get("MODEL.RESNETS.STRIDE_IN_1X1", bool),
            frozen_stages=min(self.count("MODEL.BACKBONE.FREEZE_AT", 0), STAGES - (layout == "c4")),
            frozen_norms=self.get("MODEL.RESNETS.NORM", str) == NORMS[0],
            fpn_width=self.count("MODEL.FPN.OUT_CHANNELS"),
            classes=self.count(f"MODEL.{heads}.NUM_CLASSES"),
            datasets=self.texts("DATASETS.TRAIN"),
            image=self.image(),
            sizes=self.levels("MODEL.ANCHOR_GENERATOR.SIZES", levels),
            ratios=self.levels("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", levels),
            offset=self.get("MODEL.ANCHOR_GENERATOR.OFFSET", float),
            candidates=self.count(candidates),
            proposals=self.count("MODEL.RPN.POST_NMS_TOPK_TEST"),
            proposal_nms=self.get("MODEL.RPN.NMS_THRESH", float),
            proposal_weights=self.numbers("MODEL.RPN.BBOX_REG_WEIGHTS", 4),
            score_threshold=self.get(f"MODEL.{heads}.SCORE_THRESH_TEST", float),
            nms_threshold=self.get(f"MODEL.{heads}.NMS_THRESH_TEST", float),
            detections=self.count("TEST.DETECTIONS_PER_IMAGE"),
            box_weights=self.numbers(f"MODEL.{'ROI_BOX_HEAD' if two_stage else heads}.BBOX_REG_WEIGHTS", 4),
            box_roi=self.roi("BOX"),
            head_width=self.count("MODEL.ROI_BOX_HEAD.FC_DIM"),
            boxes_without_class=self.get("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", bool),
            mask_roi=self.roi("MASK"),
            mask_widths=(mask_width,) * layers,
            mask_width=mask_width,
            masks_without_class=self.get("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", bool),
            keypoint_roi=self.roi("KEYPOINT"),
            keypoint_widths=tuple(int(width) for width in self.numbers("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", None)),
            keypoints=self.count("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"),
        )

    def image(self) -> Image:
        order = self.get("INPUT.FORMAT", str)
        if order not in ("BGR", "RGB"):
            raise self.fault("INPUT.FORMAT", "BGR or RGB")
        return Image(
            order="BGR" if order == "BGR" else "RGB",
            mean=self.numbers("MODEL.PIXEL_MEAN", 3),
            std=self.numbers("MODEL.PIXEL_STD", 3),
            min_size=self.count("INPUT.MIN_SIZE_TEST"),
            max_size=self.count("INPUT.MAX_SIZE_TEST"),
        )

    def roi(self, head: str) -> Roi:
        key = f"MODEL.ROI_{head}_HEAD.POOLER_"
        return Roi(self.count(f"{key}RESOLUTION"), self.count(f"{key}SAMPLING_RATIO", 0))

    def get(self, key: str, kind: Callable[..., T]) -> T:
        found = self.values[key].value if key in self.values else keys.DEFAULTS[key]
        fits = isinstance(found, kind) if isinstance(kind, type) else False
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            return kind(found)
        if not fits or (kind is int and isinstance(found, bool)):
            raise self.fault(key, f"a value of type {getattr(kind, '__name__', kind)}", found)
        return found  # type: ignore[no-any-return]

    def count(self, key: str, least: int = 1) -> int:
        found = self.get(key, int)
        if not least <= found <= 1 << 20:
            raise self.fault(key, f"a number from {least} to {1 << 20}", found)
        return found

    def numbers(self, key: str, length: int | None) -> tuple[float, ...]:
        found = _plain(self.values[key].value if key in self.values else keys.DEFAULTS[key])
        if not _are_numbers(found) or (length is not None and len(found) != length):
            raise self.fault(key, f"a list of {length or 'some'} numbers", found)
        return tuple(float(number) for number in found)

    def texts(self, key: str) -> tuple[str, ...]:
        found = _plain(self.values[key].value if key in self.values else keys.DEFAULTS[key])
        return tuple(str(one) for one in found) if isinstance(found, list) else (str(found),)

    def levels(self, key: str, count: int) -> tuple[tuple[float, ...], ...]:
        found = _plain(self.values[key].value if key in self.values else keys.DEFAULTS[key])
        lists = found if isinstance(found, list) and all(_are_numbers(one) and one for one in found) else []
        if len(lists) not in (1, count) or any(number <= 0 for one in lists for number in one):
            others = f", or {count}" if count > 1 else ""
            raise self.fault(key, f"one list of positive numbers{others}", found)
        lists = lists * count if len(lists) == 1 else lists
        if len({len(one) for one in lists}) > 1:
            raise self.fault(key, "lists of equal length", found)
        return tuple(tuple(float(number) for number in one) for one in lists)

    def fault(self, key: str, wanted: str, found: object = None) -> DataError:
        at = self.values[key].file if key in self.values else self.path
        value = found if found is not None else self.values[key].value if key in self.values else keys.DEFAULTS.get(key)
        return DataError(
            f"{at}: {key} is {value!r:.80}; only {wanted} can be converted to torchvision's modules: "
            "export such a model to ONNX with detectron2 itself, and give the file to export --onnx"
        )


def _plain(value: Any) -> Any:
    """Tuples as lists."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
