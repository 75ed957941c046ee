"""The networks that benchmarks/torso.py runs: backbones with a feature pyramid, and whole detectors; random masks."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from benchmarks.csp_yolo import CspYolo
from benchmarks.text_detector import TextDetector
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.capture import capture
from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.exportable import ExportableDetector
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.formats.blocks import has_whole_blocks, join_blocks, split_blocks
from lth_deploy.structures import BLOCKS

STRUCTURES = BLOCKS
"""Blocks whose weights share a random decision."""

USUAL_STRUCTURES = ("single", "out2", "in4", "2x4")
"""Those that are measured where nothing else is asked for; 16x4 and 32x4 are for matrix tiles."""

WRITTEN_HERE: dict[str, Callable[[], nn.Module]] = {"csp_yolo": CspYolo, "text_detector": TextDetector}
"""Detectors by the names of their files in this folder."""

_OPSET = 18


class Pyramid(nn.Module):
    """A backbone whose pyramid levels are a tuple."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        backbone = resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d)
        self.backbone = backbone

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, 3, H, W] to the pyramid, finest level first."""
        return tuple(self.backbone(image).values())


def export_pyramid(name: str, path: Path, size: int) -> None:
    """Write the dense network with dynamic height and width, normalization folded."""
    _export_module(cast(Any, fold_norm(Pyramid(name).eval()).module), path, size)


def _export_module(module: Any, path: Path, size: int) -> None:
    """Write a module that takes an image of any height and width."""
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        (torch.zeros(1, 3, size, size),),
        cast(Any, buffer),
        dynamo=False,
        opset_version=_OPSET,
        input_names=["image"],
        dynamic_axes={"image": {0: "N", 2: "H", 3: "W"}},
    )
    onnx.save(normalize(onnx.load_model_from_string(buffer.getvalue())).proto, str(path))


def export_detector(name: str, path: Path, size: int) -> None:
    """Write an untrained detector, from image to boxes: `faster_rcnn-resnet50`, resized to this height and width.

    One class of a two-stage detector scores above the threshold wherever it looks, so that suppression has as many
    boxes to sort as there are proposals.
    """
    family, backbone = name.split("-")
    torch.manual_seed(0)
    spec = DetectorSpec.model_validate(
        {"name": family, "backbone": backbone, "norm": "batch", "min_size": size, "max_size": size}
    )
    detector = cast(Any, build_detector(spec, 90, 0, load_weights=False).eval())
    if hasattr(detector, "roi_heads"):
        with torch.no_grad():
            detector.roi_heads.box_predictor.cls_score.bias[1] += 2
    picture = np.zeros((size, size, 3), np.uint8)
    onnx.save(normalize(capture(ExportableDetector(fold_norm(detector).module), picture)).proto, str(path))


def export(name: str, path: Path, size: int) -> None:
    """Write the dense network of this name; a path is copied."""
    if name.endswith(".onnx"):
        onnx.save(normalize(onnx.load(name)).proto, str(path))
    elif name in WRITTEN_HERE:
        _export_module(WRITTEN_HERE[name]().eval(), path, size)
    elif "-" in name:
        export_detector(name, path, size)
    else:
        export_pyramid(name, path, size)


def feeds_for(path: Path, size: int | tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """A random image, square or of height and width, for the only input of a network."""
    (source,) = onnx.load(str(path), load_external_data=False).graph.input
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(seed)
    if source.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
        return {source.name: rng.integers(0, 256, (height, width, 3), dtype=np.uint8)}
    return {source.name: rng.standard_normal((1, 3, height, width)).astype(np.float32)}


def _inputs_first(layer: NodeProto) -> bool:
    """Whether its weight is [inputs, outputs, ...]."""
    if layer.op_type == "Gemm":
        return not attribute(layer, "transB", 0)
    return layer.op_type in ("ConvTranspose", "MatMul")


def prune_randomly(model: ModelProto, sparsity: float, structure: str, seed: int = 0) -> ModelProto:
    """A copy with this share of random zeros in each layer; the stem and layers of broken blocks stay dense.

    structure: a name in STRUCTURES.
    """
    block = STRUCTURES[structure]
    pruned = ModelProto()
    pruned.CopyFrom(model)
    rng = np.random.default_rng(seed)
    layers = {n.input[1]: n for n in pruned.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")}
    for tensor in pruned.graph.initializer:
        if tensor.name not in layers or len(tensor.dims) < 2 or tensor.dims[1] == 3:
            continue
        axes = (1, 0) if _inputs_first(layers[tensor.name]) else (0, 1)
        weight = np.moveaxis(numpy_helper.to_array(tensor), axes, (0, 1))
        if not has_whole_blocks(weight.shape, block):
            continue
        rows = split_blocks(weight, block).copy()
        rows[rng.random(len(rows)) < sparsity] = 0
        values = np.moveaxis(join_blocks(rows, weight.shape, block), (0, 1), axes)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return pruned
