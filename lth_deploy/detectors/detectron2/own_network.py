"""The network that detectron2 itself builds of a configuration, where it is installed."""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.detectors.detectron2.settings import Settings
from lth_deploy.detectors.detectron2.yaml_file import read_values
from lth_deploy.errors import MissingPackageError, RecipeError

READ = ("MODEL.", "INPUT.FORMAT", "TEST.DETECTIONS_PER_IMAGE")
"""Beginnings of the keys that a network depends on; others are of detectron2's trainer."""
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2'"


def own_network(path: Path, settings: Settings) -> nn.Module:
    """The network on the CPU, with fresh weights from torch's generator, for the classes and keypoints of `settings`.

    The file is read as plain values (see `read_values`), and detectron2 is given these: it would make objects of tags.

    Raises:
        MissingPackageError: detectron2 is not installed. RecipeError: it does not take a value of the configuration.
    """
    build = _module("detectron2.modeling").build_model
    config = _module("detectron2.config").get_cfg()
    given = {key: value.value for key, value in read_values(path).items() if key.startswith(READ)}
    for key, value in {**given, **_changed(settings)}.items():
        try:
            config.merge_from_list([key, value])
        except Exception as error:  # yacs asserts, and raises errors of several kinds
            raise RecipeError(
                f"detector.config {path}: detectron2 does not take {key} {value!r:.60} ({error}); mend the "
                "configuration"
            ) from error
    network: nn.Module = build(config)
    _exchange_norms(network)
    return network


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError("detectron2", "detector.modules 'detectron2'", INSTALL) from error


def _changed(settings: Settings) -> dict[str, Any]:
    """Keys whose values come from the recipe, or from where the network runs."""
    heads = "ROI_HEADS" if settings.family != "retinanet" else "RETINANET"
    return {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        f"MODEL.{heads}.NUM_CLASSES": settings.classes,
        f"MODEL.{heads}.SCORE_THRESH_TEST": settings.score_threshold,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": settings.keypoints,
    }


def _exchange_norms(network: nn.Module) -> None:
    """Put norms of torch's and torchvision's in the place of detectron2's, which compute and store the same.

    The rest of this package knows them by their type. Norms over several processes are the recipe's `sync_norms`.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            kind: Any = FrozenBatchNorm2d if type(child).__name__ == "FrozenBatchNorm2d" else nn.BatchNorm2d
            if kind is FrozenBatchNorm2d or isinstance(child, nn.SyncBatchNorm):
                state = child.state_dict()
                norm = kind(len(state["running_var"]), eps=child.eps)
                norm.load_state_dict(state, strict=False)
                setattr(parent, name, norm)
