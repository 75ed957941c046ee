"""Detectors of the package libreyolo: YOLOX and YOLOv9."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms

from lth_deploy.config.foreign_specs import LibreyoloSpec
from lth_deploy.detectors.exportable import ExportForm
from lth_deploy.detectors.layout import Layout, set_layout
from lth_deploy.detectors.sources.describe import described
from lth_deploy.detectors.sources.merged_branches import merged_branches
from lth_deploy.detectors.sources.pixels import InputForm, Placed, Target, center_and_size, corners
from lth_deploy.detectors.sources.source import Deployed
from lth_deploy.detectors.weights import load_detector, read_state
from lth_deploy.errors import MissingExtraError, RecipeError

log = logging.getLogger(__name__)

LEAST_SCORE = 0.001
MOST_CANDIDATES, MOST_DETECTIONS = 30_000, 300
"""As the decoders of exported files have them."""

AUXILIARY = ("network.aux", "network.aux_head")
"""Neck and head of YOLOv9 that are only trained."""

SIZES = {"nano": "n", "tiny": "t"}
"""Letters of sizes that have a name."""


class Family(ABC):
    """What families differ in; networks and losses are libreyolo's own.

    decoder, options: how an exported graph is read. iou: of two boxes of a class that overlap more, one goes.
    layout: parts and final predictors, as the networks name them.
    """

    decoder: str
    options: dict[str, str]
    iou: float
    layout: Layout

    @abstractmethod
    def network(self, size: str, classes: int, spec: LibreyoloSpec) -> nn.Module:
        """A fresh network of the size that libreyolo calls so, with the losses that a recipe asks for."""

    @abstractmethod
    def form(self, size: tuple[int, int]) -> InputForm:
        """How libreyolo makes an input of this height and width of an image."""

    @abstractmethod
    def losses(self, network: Any, pixels: Tensor, labels: list[Tensor], boxes: list[Tensor]) -> dict[str, Tensor]:
        """The terms of the loss; labels from 0 and boxes [N, 4] as x1, y1, x2, y2 in pixels of the input, by image."""

    @abstractmethod
    def proposals(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """Of what the network answers for one image, boxes [N, 4] in pixels of the input, and scores [N, C]."""


class Yolox(Family):
    """Boxes, objectness and classes of each cell; SimOTA assigns cells to objects (Ge et al. 2021)."""

    decoder, options, iou = "yolox", {"boxes": "decoded"}, 0.65
    layout = Layout(
        (("backbone", "network.backbone.backbone"), ("fpn", "network.backbone"), ("dense_head", "network.head")),
        tuple(f"network.head.{kind}_preds" for kind in ("cls", "reg", "obj")),
    )

    def network(self, size: str, classes: int, spec: LibreyoloSpec) -> nn.Module:
        """See `Family`."""
        found = import_module("libreyolo.models.yolox.nn").LibreYOLOXModel(size, nb_classes=classes)
        found.init_weights()  # as its trainer does with a network that has no weights yet
        found.head.use_l1 = spec.l1_loss
        assert isinstance(found, nn.Module)
        return found

    def form(self, size: tuple[int, int]) -> InputForm:
        """See `Family`."""
        return InputForm(size, "letterbox-corner", scale=1.0, color="bgr")

    def losses(self, network: Any, pixels: Tensor, labels: list[Tensor], boxes: list[Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        head = network.head
        # What the head keeps of the last pass says nothing of the device that it was made on.
        head.grids = [grid.to(pixels.device) for grid in head.grids]
        with _normalized_alone():
            found = network(pixels, _rows(labels, [center_and_size(one) for one in boxes], pixels))
        return {name: found[f"{name}_loss"] for name in ("iou", "obj", "cls", *(["l1"] if head.use_l1 else []))}

    def proposals(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """See `Family`; each cell counts for its best class."""
        best, label = answer[:, 5:].max(1)
        scores = torch.zeros_like(answer[:, 5:]).scatter_(1, label[:, None], (best * answer[:, 4])[:, None])
        return corners(answer[:, :4]), scores


class Yolov9(Family):
    """Boxes as distributions of distances, and classes of each cell, aligned with objects by both (Wang et al. 2024).

    An auxiliary neck and head have part in the losses only; libreyolo leaves them out of its exports too.
    """

    decoder, options, iou = "yolo", {"boxes": "corners"}, 0.7
    layout = Layout(
        (("backbone", "network.backbone"), ("fpn", "network.neck"), ("dense_head", "network.head")),
        tuple(f"network.head.{tower}.{level}.2" for tower in ("cv2", "cv3") for level in range(3)),
        training_only=AUXILIARY,
    )

    def network(self, size: str, classes: int, spec: LibreyoloSpec) -> nn.Module:
        """See `Family`."""
        found: Any = import_module("libreyolo.models.yolo9.nn").LibreYOLO9Model(size, nb_classes=classes)
        if spec.auxiliary:
            found.enable_aux(spec.auxiliary)
        assert isinstance(found, nn.Module)
        return found

    def form(self, size: tuple[int, int]) -> InputForm:
        """See `Family`."""
        return InputForm(size, "letterbox-corner", antialiased=False)

    def losses(self, network: Any, pixels: Tensor, labels: list[Tensor], boxes: list[Tensor]) -> dict[str, Tensor]:
        """See `Family`."""
        for head in filter(None, (network.head, network.aux_head)):
            if head._loss_fn is not None and head._loss_fn.device != pixels.device:
                head._loss_fn = None
            head._get_loss_fn(pixels.device).distributed_normalize = False  # see `_normalized_alone`
        sides = boxes[0].new_tensor([pixels.shape[3], pixels.shape[2]] * 2)
        found = network(pixels, _rows(labels, [one / sides for one in boxes], pixels))
        return {name: found[f"{name}_loss"] for name in ("box", "dfl", "cls")}

    def proposals(self, answer: Tensor) -> tuple[Tensor, Tensor]:
        """See `Family`."""
        return answer[:4].T, answer[4:].T


FAMILIES: dict[str, Family] = {"yolox": Yolox(), "yolov9": Yolov9()}


class GridDetector(nn.Module):
    """A network that answers with a box for each cell of its grids, called as torchvision's detectors are."""

    def __init__(self, network: nn.Module, family: Family, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.family, self.form = family, family.form(size)
        head: Any = network.get_submodule("head")
        head.export = True  # in evaluation mode, one tensor of decoded boxes; losses do not depend on it

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> dict[str, Tensor] | list[Target]:
        """Losses, or the best detections of each image."""
        pixels, places = self.form.batch(images)
        if self.training and targets is not None:
            boxes = [place.into(target["boxes"]) for place, target in zip(places, targets, strict=True)]
            return self.family.losses(self.network, pixels, [target["labels"] - 1 for target in targets], boxes)
        return [self._found(*one) for one in zip(self.raw(pixels), places, strict=True)]

    def raw(self, pixels: Tensor) -> Tensor:
        """The answers for a batch [N, 3, H, W], as the family's decoder reads them."""
        answer: Tensor = self.network(pixels)
        return answer

    def _found(self, answer: Tensor, place: Placed) -> Target:
        boxes, scores = self.family.proposals(answer.float())
        flat = scores.flatten()
        best = flat.topk(min(MOST_CANDIDATES, len(flat))).indices
        best = best[flat[best] > LEAST_SCORE]
        rows, labels = best // scores.shape[1], best % scores.shape[1]
        kept = batched_nms(boxes[rows], flat[best], labels, self.family.iou)[:MOST_DETECTIONS]
        found = place.back(boxes[rows[kept]])
        # Of a box beside the image nothing is left there.
        visible = (found[:, 2:] > found[:, :2]).all(1)
        kept = kept[visible]
        return {"boxes": found[visible], "scores": flat[best[kept]], "labels": labels[kept] + 1}


class ExportedGrid(nn.Module):
    """The network between pixels and the boxes of its cells, which is what is exported."""

    def __init__(self, model: GridDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """The answer for pixels [1, 3, H, W]."""
        return (self.model.raw(pixels),)


class Libreyolo:
    """See `Source`."""

    def build(self, spec: LibreyoloSpec, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """See `Source`."""
        _require()
        name, _, size = spec.model.partition("_")
        family = FAMILIES[name]
        network = family.network(SIZES.get(size, size), classes, spec)
        height, width = spec.size
        model = GridDetector(network, family, (height, width))
        set_layout(model, family.layout)
        described(model.train(), spec, classes)
        if load_weights and spec.weights != "none":
            _load(model, Path(spec.weights), classes)
        return model

    def deployed(self, model: nn.Module, *, quantized: bool) -> Deployed:
        """See `Deploys`: with one convolution for each pair of YOLOv9's, unless learned ranges belong to the two."""
        return Deployed(model if quantized else merged_branches(model))

    def export_form(self, model: nn.Module) -> ExportForm:
        """Pixels to the boxes of all cells: one graph that the family's decoder reads."""
        assert isinstance(model, GridDetector)
        return ExportForm(
            ExportedGrid(model),
            model.family.decoder,
            model.form.recorded(),
            model.family.options,
            (1, 3, *model.form.size),
            "images",
            ("output",),
        )


SOURCE = Libreyolo()


def _require() -> None:
    try:
        import_module("libreyolo.models.yolox.nn")
    except ImportError as error:
        raise MissingExtraError("libreyolo", "zoo", "detector.source 'libreyolo'") from error
    except Exception as error:  # its families are imported all together, each with packages of its own
        raise RecipeError(
            f"detector.source 'libreyolo': importing the package failed with {type(error).__name__}: {error}; install "
            "it anew with: pip install 'lth-deploy[zoo]'"
        ) from error


@contextmanager
def _normalized_alone() -> Iterator[None]:
    """Let YOLOX divide its loss by the cells of this process, as other detectors do.

    By itself it waits for the counts of all ranks, and some losses are computed by the first rank only.
    """
    module: Any = import_module("libreyolo.models.yolox.nn")
    before = module.all_reduce_avg_scalar
    module.all_reduce_avg_scalar = lambda value, **_: max(float(value), 1.0)
    try:
        yield
    finally:
        module.all_reduce_avg_scalar = before


def _rows(labels: list[Tensor], boxes: list[Tensor], pixels: Tensor) -> Tensor:
    """Label and box of each object [N, M, 5]; images with fewer objects than M end in rows of zeros."""
    rows = [torch.cat([label[:, None].to(box.dtype), box], 1) for label, box in zip(labels, boxes, strict=True)]
    return pad_sequence(rows, batch_first=True).to(pixels.device)


def _load(model: nn.Module, path: Path, classes: int) -> None:
    """Fill in a file of libreyolo or of this package; see `load_detector`."""
    state = read_state(path)
    if not any(name.startswith("network.") for name in state):
        state = {f"network.{name}": tensor for name, tensor in state.items()}
    # Other readers of the same files drop the constants of the distributions too.
    state = {name: tensor for name, tensor in state.items() if not name.startswith("network.head.dfl.")}
    load_detector(model, _with_own_auxiliary(model, state, path), str(path), classes)


def _with_own_auxiliary(model: nn.Module, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """`state` with the tensors of the auxiliary branch that `model` has: those of the file where they fit."""
    prefixes = tuple(f"{part}." for part in AUXILIARY)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefixes)}
    fitting = {name for name, tensor in own.items() if name in state and state[name].shape == tensor.shape}
    if own and len(fitting) < len(own):
        log.warning("%s: %d of %d tensors of the auxiliary branch stay fresh", path, len(own) - len(fitting), len(own))
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}
    return kept | {name: state[name] if name in fitting else tensor for name, tensor in own.items()}
