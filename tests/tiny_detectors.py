"""Detectors of every family, small enough to train and export within a second."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.detector_spec import FAMILIES as NAMED  # noqa: E402

FAMILIES = (*(name for name in NAMED if name != "classifier"), "faster_rcnn/c4")
"""Names of detectors, with their layout where it is not the default."""
CLASSES = 3
KEYPOINTS = 4


def tiny_spec(name: str, **changes: Any) -> Any:
    """A recipe's detector section: 16 channels, images of about 64 x 96 pixels."""
    from lth_deploy.config.detector_spec import DetectorSpec

    name, _, layout = name.partition("/")
    settings: dict[str, Any] = {
        "name": name,
        "backbone": "mobilenet_v3_large" if name == "ssdlite" else "resnet18",
        **({"layout": layout, "roi_cells": 7} if layout else {"fpn_width": 16, "head_width": 32}),
        "min_size": 64,
        "max_size": 96,
        "proposals": 40,
        "detections": 8,
        "score_threshold": 0.0,
    }
    return DetectorSpec(**{**settings, **changes})


def tiny_detector(name: str, *, seed: int = 0, **changes: Any) -> Any:
    """A fresh detector whose norm statistics and heads are as alive as after training."""
    from lth_deploy.detectors import build_detector
    from lth_deploy.detectors.groups import layer_groups, prunable_modules

    spec = tiny_spec(name, **changes)
    torch.manual_seed(seed)
    model = build_detector(spec, CLASSES, KEYPOINTS)
    if spec.norm != "group":
        torch.manual_seed(seed)
        donor = build_detector(spec.model_copy(update={"norm": "batch"}), CLASSES, KEYPOINTS)
        _calibrate(donor)
        model.load_state_dict(donor.state_dict())
    groups = layer_groups(model)
    for layer, module in prunable_modules(model).items():
        # Signals that reach the end and scores that differ, so that ranking withstands rounding.
        if groups[layer] == "predictor":
            torch.nn.init.normal_(module.weight, std=0.1)
        elif groups[layer] != "backbone":
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


def _calibrate(model: Any) -> None:
    from lth_deploy.detectors.raw_outputs import raw_outputs

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.8, 1.2)
        norm.bias.data.normal_(0, 0.1)
    images = [torch.from_numpy(picture(128, 128, seed)).permute(2, 0, 1) / 255 for seed in range(4)]
    with torch.no_grad():
        inputs = (torch.stack(images) - 0.45) / 0.225
        if hasattr(model, "roi_heads"):
            raw_outputs(model.train(), inputs)  # layer4 may be the box head
        else:
            model.train().backbone(inputs)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before


def batch(
    sizes: tuple[tuple[int, int], ...] = ((64, 80), (64, 96)),
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Images with one object each, but for the last one, which has none."""
    images = [torch.rand(3, *size) for size in sizes]
    targets = []
    for index, (height, width) in enumerate(sizes):
        count = int(index < len(sizes) - 1)
        targets.append(
            {
                "boxes": torch.tensor([[10.0, 8.0, 50.0, 56.0]])[:count],
                "labels": torch.tensor([CLASSES])[:count],
                "masks": torch.ones(count, height, width, dtype=torch.uint8),
                "keypoints": torch.tensor([[[20.0, 30.0, 2.0]] * KEYPOINTS])[:count],
            }
        )
    return images, targets


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth random image; noise would make all detections alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 5 // width
    return coarse[rows][:, columns]
