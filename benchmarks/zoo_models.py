"""The detectors that benchmarks/zoo.py runs: families that people deploy, without trained weights.

Most are built and exported by libreyolo (`pip install '.[zoo]'`), two by torchvision, two are written in this folder.
Weights are random with a fixed seed, and batch norms have the statistics of random images, or layers their variance, so
that activations neither vanish nor overflow: times are real, and AP is not.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import nn

from benchmarks.attention_yolo import AttentionYolo
from benchmarks.csp_yolo import CspYolo
from lth_deploy.errors import UsageError


@dataclass(frozen=True)
class ZooModel:
    """One family at one size. write: exports it to a path; size: height and width of its input in pixels."""

    name: str
    size: int
    write: Callable[[Path], None]


def norms_of_noise(module: nn.Module, size: int) -> None:
    """Give batch norms the means and variances that they see on random images, and put the module into eval mode."""
    module.eval()
    norms = [one for one in module.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    if norms:
        with torch.no_grad():
            module(torch.randn(2, 3, size, size))
    module.eval()


def unit_variances(module: nn.Module, size: int) -> None:
    """Scale each convolution so that what it makes of a random image has a variance of one."""

    def scaled(layer: nn.Module, given: Any, made: torch.Tensor) -> torch.Tensor:
        assert isinstance(layer, nn.Conv2d)
        scale = 1.0 / made.std()
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)
        return made * scale

    hooks = [one.register_forward_hook(scaled) for one in module.modules() if isinstance(one, nn.Conv2d)]
    with torch.no_grad():
        module.eval()(torch.randn(1, 3, size, size))
    for hook in hooks:
        hook.remove()


def _from_libreyolo(class_name: str, variant: str, size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        try:
            import libreyolo
        except ImportError as error:
            raise UsageError(
                f"{path.stem} is built by libreyolo, which is not installed; pip install '.[zoo]'"
            ) from error
        torch.manual_seed(0)
        before = Path.cwd()
        with tempfile.TemporaryDirectory(prefix="lth-zoo-") as folder:
            os.chdir(folder)  # libreyolo writes settings and logs into the working folder
            try:
                model = getattr(libreyolo, class_name)(None, size=variant, device="cpu")
                norms_of_noise(model.model, size)
                made = model.export("onnx", output_path=str(Path(folder, "model.onnx")), simplify=False, dynamic=False)
                Path(made).rename(path)
            finally:
                os.chdir(before)

    return write


class _Maps(nn.Module):
    """What a torchvision detector computes before it selects boxes: maps of a pyramid, or scores and offsets."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, getattr(detector, "head", None)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = list(self.backbone(images).values())
        return tuple(maps) if self.head is None else tuple(self.head(maps).values())


def _ssdlite() -> nn.Module:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    return _Maps(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None))


def _mobilenet_pyramid() -> nn.Module:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    module = _Maps(detector)
    module.head = None
    return module


def _scaled(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def scaled() -> nn.Module:
        module = build()
        unit_variances(module, 128)
        return module

    return scaled


def _exported(build: Callable[[], nn.Module], size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.manual_seed(0)
        image = torch.zeros(1, 3, size, size)
        module = build()
        norms_of_noise(module, size)
        torch.onnx.export(
            module,
            (image,),
            cast(Any, str(path)),
            dynamo=False,
            opset_version=17,
            input_names=["images"],
        )

    return write


def _libreyolo(name: str, class_name: str, variant: str, size: int) -> ZooModel:
    return ZooModel(name, size, _from_libreyolo(class_name, variant, size))


ZOO = {
    model.name: model
    for model in (
        _libreyolo("yolox_nano", "LibreYOLOX", "n", 416),
        _libreyolo("yolox_s", "LibreYOLOX", "s", 640),
        _libreyolo("yolov9_t", "LibreYOLO9", "t", 640),
        _libreyolo("picodet_s", "LibrePICODET", "s", 320),
        _libreyolo("ppyoloe_s", "LibrePPYOLOE", "s", 640),
        _libreyolo("rtmdet_tiny", "LibreRTMDet", "t", 640),
        _libreyolo("rtdetrv2_r18", "LibreRTDETRv2", "r18", 640),
        _libreyolo("dfine_n", "LibreDFINE", "n", 640),
        _libreyolo("deim_n", "LibreDEIM", "n", 640),
        _libreyolo("efficientdet_d0", "LibreEfficientDet", "d0", 512),
        _libreyolo("ssd300", "LibreSSD", "300", 300),
        _libreyolo("yolonas_s", "LibreYOLONAS", "s", 640),
        ZooModel("ssdlite320", 320, _exported(_ssdlite, 320)),
        ZooModel("mobilenetv3_fpn", 320, _exported(_mobilenet_pyramid, 320)),
        ZooModel("csp_yolo", 640, _exported(_scaled(CspYolo), 640)),
        ZooModel("attention_yolo", 640, _exported(_scaled(AttentionYolo), 640)),
    )
}
"""By name, in the order of the tables."""


def zoo_file(name: str, folder: Path) -> Path:
    """The dense ONNX file of a model in `folder`, written where it is not there yet.

    Raises:
        UsageError: no model has this name, or what builds it is not installed.
    """
    model = ZOO.get(name)
    if model is None:
        raise UsageError(f"there is no model {name!r} in the zoo; choose of {', '.join(ZOO)}")
    path = folder / f"{name}.onnx"
    if not path.is_file():
        unfinished = path.with_suffix(".tmp.onnx")
        model.write(unfinished)
        onnx.checker.check_model(str(unfinished))
        unfinished.rename(path)
    return path
