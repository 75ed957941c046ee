"""A network of detectron2's own modules, called as torchvision's detectors are."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy.detectors.detectron2.settings import Settings
from lth_deploy.detectors.layout import Layout, set_layout
from lth_deploy.detectors.transform import DetectorTransform, Target
from lth_deploy.errors import DataError

BYTE = 255.0

VIEWED = ("roi_heads.keypoint_head.score_lowres",)
"""Layers of whose output detectron2 makes a view that channels last in memory do not allow."""

PREDICTORS = (
    "proposal_generator.rpn_head.objectness_logits",
    "proposal_generator.rpn_head.anchor_deltas",
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
    "roi_heads.mask_head.predictor",
    "roi_heads.keypoint_head.score_lowres",
    "head.cls_score",
    "head.bbox_pred",
)
PARTS = (
    ("backbone", "backbone"),
    ("rpn", "proposal_generator"),
    ("box_head", "roi_heads.res5"),
    ("box_head", "roi_heads.box_head"),
    ("mask_head", "roi_heads.mask_head"),
    ("keypoint_head", "roi_heads.keypoint_head"),
    ("dense_head", "head"),
)


class OwnModules(nn.Module):
    """Takes images float32 [3, H, W] RGB in 0..1 and labels from 1; losses and sampling are detectron2's.

    Images are resized as in the converted network (see `network`), so that both find the same. `normalizer` is what
    RetinaNet divides its losses by, an average over steps: it is part of the state, so that a training goes on with it.
    """

    normalizer: Tensor

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        image = settings.image
        self.transform = DetectorTransform(image.min_size, image.max_size, [0.0] * 3, [1.0] * 3)
        self.register_buffer("normalizer", torch.zeros((), dtype=torch.float64))
        set_layout(self, _layout(network))
        for name, module in network.named_modules():
            if name in VIEWED:
                module.register_forward_hook(_contiguous)

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> dict[str, Tensor] | list[Target]:
        """Losses, or what is found in each image, in its pixels."""
        if self.training and targets is not None:
            return self._losses([self._example(*pair) for pair in zip(images, targets, strict=True)])
        inputs = [self._pixels(self.transform.resize(image)[0]) for image in images]
        found = self._found([{"image": pixels} for pixels in inputs])
        return self.transform.postprocess(found, *([_size(image) for image in of] for of in (inputs, images)))

    def _pixels(self, image: Tensor) -> Tensor:
        pixels = image * BYTE
        return pixels.flip(0) if self.settings.image.order == "BGR" else pixels

    def _example(self, image: Tensor, target: Target) -> dict[str, Any]:
        resized, fitted = self.transform.resize(image, target)
        return {"image": self._pixels(resized), "instances": self._truth(resized, fitted or {})}

    def _losses(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        network: Any = self.network
        vars(network).pop("loss_normalizer", None)
        if float(self.normalizer) > 0:
            network.loss_normalizer = float(self.normalizer)
        with import_module("detectron2.utils.events").EventStorage():
            losses: dict[str, Tensor] = network(inputs)
        if self.settings.family == "retinanet":
            self.normalizer.fill_(network.loss_normalizer)
        return losses

    def _truth(self, image: Tensor, target: Target) -> Any:
        structures = import_module("detectron2.structures")
        truth = structures.Instances(_size(image))
        truth.gt_boxes, truth.gt_classes = structures.Boxes(target["boxes"]), target["labels"] - 1
        if self.settings.family == "mask_rcnn":
            truth.gt_masks = structures.BitMasks(_given(target, "masks").bool())
        if self.settings.family == "keypoint_rcnn":
            truth.gt_keypoints = structures.Keypoints(_given(target, "keypoints"))
        return truth

    def _found(self, inputs: list[dict[str, Any]]) -> list[Target]:
        network: Any = self.network
        if self.settings.family == "retinanet":
            instances = [one["instances"] for one in network(inputs)]
        else:
            instances = network.inference(inputs, do_postprocess=False)
        return [self._as_torchvision(one) for one in instances]

    def _as_torchvision(self, instances: Any) -> Target:
        instances = instances[instances.pred_boxes.nonempty()]
        found = {"boxes": instances.pred_boxes.tensor, "scores": instances.scores}
        found["labels"] = instances.pred_classes + 1
        if instances.has("pred_masks"):
            found["masks"] = instances.pred_masks
        if instances.has("pred_keypoints"):
            points = instances.pred_keypoints
            found["keypoints"] = torch.cat([points[..., :2], torch.ones_like(points[..., :1])], -1)
            found["keypoints_scores"] = points[..., 2]
        return found


def _contiguous(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output.contiguous()


def _size(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


def _given(target: Target, key: str) -> Tensor:
    if key not in target:
        raise DataError(f"the images have no {key}, which this detector learns from; add them to the annotations")
    return target[key]


def _layout(network: nn.Module) -> Layout:
    modules = dict(network.named_modules())
    parts = [(part, f"network.{path}") for part, path in PARTS if path in modules]
    if "backbone.bottom_up" in modules:
        pyramid = [name for name, _ in network.get_submodule("backbone").named_children() if name != "bottom_up"]
        parts += [("fpn", f"network.backbone.{name}") for name in pyramid]
        parts.append(("backbone", "network.backbone.bottom_up"))
    predictors = tuple(f"network.{path}" for path in PREDICTORS if path in modules)
    # A norm is held by its convolution.
    norms = {f"network.{name}": f"network.{name}.norm" for name in modules if f"{name}.norm" in modules}
    return Layout(tuple(parts), predictors, norms=norms)
