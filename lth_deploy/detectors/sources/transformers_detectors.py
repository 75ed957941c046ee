"""Detectors of the package transformers: RT-DETR and its successors, D-FINE, DETR, Deformable DETR and YOLOS."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.config.foreign_specs import TransformersSpec
from lth_deploy.detectors.exportable import ExportForm
from lth_deploy.detectors.layout import Layout, set_layout
from lth_deploy.detectors.sources.describe import described
from lth_deploy.detectors.sources.pixels import InputForm, Target, center_and_size, corners
from lth_deploy.detectors.sources.transformers_config import configuration, image_statistics, refused_config
from lth_deploy.detectors.weights import load_file_whole
from lth_deploy.errors import DataError, MissingExtraError

LEAST_SCORE, MOST_DETECTIONS = 0.001, 300
"""As the decoder of exported files has both."""

PARTS = (
    ("backbone", ("model.backbone", "vit")),
    ("encoder", ("model.encoder", "model.encoder_input_proj", "model.input_projection", "model.input_proj")),
    (
        "decoder",
        (
            "model.decoder",
            "model.decoder_input_proj",
            "model.enc_output",
            "model.enc_score_head",
            "model.enc_bbox_head",
            "model.reference_points",
            "bbox_embed",
            "bbox_predictor",
            "class_labels_classifier",
        ),
    ),
)
"""Submodules of the parts, as these networks name them; each has some of them."""

PREDICTORS = (
    "class_embed",
    "bbox_embed",
    "class_labels_classifier",
    "bbox_predictor",
    "enc_score_head",
    "enc_bbox_head",
    "pre_bbox_head",
    "reg_conf",
)
"""Modules that end in logits or boxes, by the last part of their names."""

CONSTANTS = ("up", "reg_scale")
"""Parameters that are numbers of an architecture, by the last part of their names; of D-FINE, where bins lie."""


class SetDetector(nn.Module):
    """A network that answers with a fixed number of queries, called as torchvision's detectors are.

    Images are brought to one size. Losses are the network's own, weighted and summed by it.
    """

    def __init__(self, network: nn.Module, form: InputForm, classes: int) -> None:
        super().__init__()
        self.network = network
        self.form, self.classes = form, classes

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> dict[str, Tensor] | list[Target]:
        """Losses, or the best detections of each image."""
        pixels, places = self.form.batch(images)
        if self.training and targets is not None:
            height, width = self.form.size
            labels = []
            for place, target in zip(places, targets, strict=True):
                boxes = center_and_size(place.into(target["boxes"]))
                boxes = boxes / boxes.new_tensor([width, height] * 2)
                labels.append({"class_labels": target["labels"] - 1, "boxes": boxes})
            return {"set": self.network(pixel_values=pixels, labels=labels).loss}
        logits, boxes = self.raw(pixels)
        return [self._found(*one) for one in zip(logits, boxes, places, strict=True)]

    def raw(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, Q, C] and boxes [N, Q, 4], center and size on a scale of 0 to 1, of a batch [N, 3, H, W]."""
        answer = self.network(pixel_values=pixels)
        return answer.logits, answer.pred_boxes

    @property
    def scores(self) -> str:
        """Whether the last class stands for no object, as the first DETR has it: `softmax`, or else `logits`."""
        return "softmax" if getattr(self.network.config, "model_type", "") in ("detr", "yolos") else "logits"

    def _found(self, logits: Tensor, boxes: Tensor, place: Any) -> Target:
        logits, boxes = logits.float(), boxes.float()
        height, width = self.form.size
        if self.scores == "softmax":
            scores, labels = logits.softmax(-1)[:, :-1].max(-1)
            rows = torch.arange(len(scores), device=scores.device)
        else:
            every = logits.sigmoid().flatten()
            rows = torch.arange(len(every), device=every.device) // self.classes
            scores, labels = every, torch.arange(len(every), device=every.device) % self.classes
        best = scores.topk(min(MOST_DETECTIONS, len(scores))).indices
        best = best[scores[best] > LEAST_SCORE]
        found = corners(boxes[rows[best]]) * boxes.new_tensor([width, height] * 2)
        return {"boxes": place.back(found), "scores": scores[best], "labels": labels[best] + 1}


class ExportedSet(nn.Module):
    """The network between pixels and queries, which is what is exported."""

    def __init__(self, model: SetDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes of normalized pixels [1, 3, H, W]."""
        return self.model.raw(pixels)


class Transformers:
    """See `Source`."""

    def build(self, spec: TransformersSpec, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """See `Source`."""
        _require()
        config = configuration(spec, classes)
        network = _network(spec, config, load_weights and spec.weights == "pretrained")
        if spec.norm == "batch":
            _thaw(network)
        else:
            _exchange_norms(network, lambda norm: FrozenBatchNorm2d(len(norm.weight)))
        mean, std = image_statistics(spec, config.model_type)
        height, width = spec.size
        model = SetDetector(network, InputForm((height, width), mean=mean, std=std), classes)
        set_layout(model, _layout(network))
        described(model.train(), spec, classes)
        if load_weights and spec.weights not in ("none", "pretrained"):
            load_file_whole(model, Path(spec.weights), classes)
        return model

    def export_form(self, model: nn.Module) -> ExportForm:
        """Pixels to queries: one graph that the decoder `detr` reads."""
        assert isinstance(model, SetDetector)
        return ExportForm(
            ExportedSet(model),
            "detr",
            model.form.recorded(),
            {"scores": model.scores, "box_output": "pred_boxes"},
            (1, 3, *model.form.size),
            "pixel_values",
            ("logits", "pred_boxes"),
        )


SOURCE = Transformers()


def _require() -> None:
    for package in ("transformers", "scipy"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "transformers", "detector.source 'transformers'") from error


def _network(spec: TransformersSpec, config: Any, pretrained: bool) -> nn.Module:
    auto: Any = import_module("transformers").AutoModelForObjectDetection
    if not pretrained:
        try:
            network: nn.Module = auto.from_config(config)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # a network of values that do not fit each other fails anywhere
            raise refused_config(error) from error
        return network
    try:
        loaded: nn.Module = auto.from_pretrained(
            spec.model,
            config=config,
            revision=spec.revision,
            # Files of pickled objects run code when they are read.
            use_safetensors=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"detector.model '{spec.model}': its weights cannot be read ({first}); name a local folder with "
            "model.safetensors, or use weights: none"
        ) from error
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # a network of values that do not fit each other fails anywhere
        said = " ".join(str(error).split())
        raise DataError(
            f"detector.model '{spec.model}': transformers cannot build its network: {type(error).__name__}: {said}; "
            "restore its config.json"
        ) from error
    return loaded


def _thaw(network: nn.Module) -> None:
    """Let everything learn, with norms that follow the batches; their statistics stay until then."""
    _exchange_norms(network, lambda norm: nn.BatchNorm2d(len(norm.weight)))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.rpartition(".")[2] not in CONSTANTS)


def _exchange_norms(network: nn.Module, make: Any) -> None:
    """Put a norm of torch's or torchvision's in the place of each frozen one of transformers', which has no name."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("FrozenBatchNorm2d") and not isinstance(child, FrozenBatchNorm2d):
                norm = make(child)
                norm.load_state_dict(child.state_dict(), strict=False)
                setattr(parent, name, norm)


def _layout(network: nn.Module) -> Layout:
    modules = dict(network.named_modules())
    parts = [(part, f"network.{path}") for part, paths in PARTS for path in paths if path in modules]
    predictors = []
    for name, module in modules.items():
        if name.rpartition(".")[2] in PREDICTORS:
            predictors += [f"network.{name}.{last}".rstrip(".") for last in _last_layers(module)]
    return Layout(tuple(parts), tuple(predictors))


def _last_layers(module: nn.Module) -> list[str]:
    """The layers that a head ends in: the head itself, the last of a perceptron, or those of each entry of a list."""
    if isinstance(module, nn.Linear):
        return [""]
    layers = getattr(module, "layers", None)
    if isinstance(layers, nn.ModuleList):
        return [f"layers.{len(layers) - 1}"]
    return [f"{name}.{last}".rstrip(".") for name, child in module.named_children() for last in _last_layers(child)]
