"""Detectors as a user would write them: found by name, and faulty in each way that has a message."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

SIDE = 64
HERE = __name__
PARTS = {"parts": {"backbone": "backbone", "dense_head": "head"}}
PREDICTORS = {"predictors": ["head.classification_head.module_list", "head.regression_head.module_list"]}


def module_detector(function: str) -> dict[str, Any]:
    """The section `detector` of a recipe for 64 x 64 pixels whose detector `function` of this file makes."""
    detector = {"source": "module", "factory": f"{HERE}:{function}", "min_size": 64, "max_size": 64}
    return {**detector, **PARTS, **PREDICTORS, "score_threshold": 0.0}


class Body(nn.Module):
    """Norms and convolutions in lists of their own: that one follows the other shows only in a pass."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(width if k else 3, width, 3, 2, 1, bias=False) for k in range(4))
        self.out_channels = [width, width]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for level, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            images = nn.functional.silu(norm(conv(images)))
            if level > 1:
                maps[str(level)] = images
        return maps


def ssd(classes: int, width: int = 16) -> nn.Module:
    """A single-shot detector on a body of four convolutions."""
    boxes = DefaultBoxGenerator([[2], [2]])
    half = [0.5, 0.5, 0.5]
    model: nn.Module = SSD(
        Body(width),
        boxes,
        (SIDE, SIDE),
        classes + 1,
        image_mean=half,
        image_std=half,
        score_thresh=0.0,
        detections_per_img=8,
        topk_candidates=40,
    )
    return model


number = 3
"""No function."""


def fails(classes: int) -> nn.Module:
    raise KeyError("no weights here")


def leaves(classes: int) -> nn.Module:
    """Ends the program."""
    raise SystemExit(4)


def no_module(classes: int) -> Any:
    return {"model": classes}


class Answers(nn.Module):
    """Returns what it is made with; a layer makes it one that could be pruned."""

    def __init__(self, losses: Callable[[Tensor], Any], detections: Callable[[int], Any]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)
        self._losses, self._detections = losses, detections

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        value = torch.stack([self.layer(image).mean() for image in images]).mean()
        return self._losses(value) if self.training else self._detections(len(images))


def sound(images: int) -> list[dict[str, Tensor]]:
    one = {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2]), "scores": torch.rand(2)}
    return [dict(one) for _ in range(images)]


def layerless(classes: int) -> nn.Module:
    model = ssd(classes)
    model.backbone = nn.Identity()
    model.head = nn.Identity()
    return model


def unseeded(classes: int) -> nn.Module:
    model = ssd(classes)
    nn.init.normal_(model.get_parameter("backbone.convs.0.weight"), generator=_OWN)
    return model


_OWN = torch.Generator()


class Untraceable(SSD):  # type: ignore[misc]
    """Asks a tensor for its name in Python while it detects, which an export cannot follow."""

    def postprocess_detections(self, *arguments: Any) -> Any:
        if torch.onnx.is_in_onnx_export():
            raise RuntimeError("a step that no graph can hold")
        return super().postprocess_detections(*arguments)


def untraceable(classes: int) -> nn.Module:
    model = ssd(classes)
    model.__class__ = Untraceable
    return model
