"""First weights of a smoke run: fresh ones whose scores differ, so that parity has something to hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.config.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lth_deploy.detectors.inference import Image


def write_varied_weights(recipe: Recipe, path: Path, classes: int, keypoints: int) -> None:
    """Write the weights of the recipe's detector, for so many classes and keypoints, to a `.safetensors` file."""
    import torch
    from safetensors.torch import save_file

    from lth_deploy import storage
    from lth_deploy.detectors import build_detector

    detector = recipe.detector
    if isinstance(detector, DetectorSpec) and detector.norm == "frozen":
        detector = detector.model_copy(update={"norm": "batch"})  # a state is the same for both
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = build_detector(detector, classes, keypoints)
        _spread_scores(model)
        with _norms_that_follow(model):
            _pass_images(model, recipe, keypoints)
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    storage.write_atomically(path, lambda file: save_file(state, file))


def _spread_scores(model: "nn.Module") -> None:
    from torch import nn

    from lth_deploy.detectors.groups import layer_groups, prunable_modules
    from lth_deploy.detectors.layout import layout_of

    groups = layer_groups(model)
    for name in prunable_modules(model):
        weight = model.get_parameter(f"{name}.weight")
        if groups[name] == "predictor":
            # Logits of about 1: larger ones saturate into equal scores, smaller ones differ by less than rounding.
            # Offsets of boxes are a tenth of that, as trained ones are: larger ones blow rounding up to whole pixels.
            scale = 0.1 if name.endswith(("bbox_pred", "anchor_deltas")) else 1.0
            nn.init.normal_(weight, std=scale * weight[0].numel() ** -0.5)
            bias = model.get_submodule(name).bias
            if layout_of(model) is not None and isinstance(bias, nn.Parameter):
                nn.init.zeros_(bias)  # those of other sources may hold all scores below what counts as a detection
        elif groups[name] != "backbone" and layout_of(model) is None:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")


@contextmanager
def _norms_that_follow(model: "nn.Module") -> "Iterator[None]":
    """Give batch norms, frozen ones too, the statistics of what flows through them, as a trained network has."""
    from torch import nn
    from torchvision.ops import FrozenBatchNorm2d

    exchanged: list[tuple[nn.Module, str, FrozenBatchNorm2d]] = []
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, FrozenBatchNorm2d):
                exchanged.append((parent, name, norm))
                follower = nn.BatchNorm2d(len(norm.weight), eps=norm.eps)
                follower.load_state_dict(norm.state_dict(), strict=False)
                setattr(parent, name, follower)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    yield
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
    for parent, name, frozen in exchanged:
        frozen.load_state_dict(parent.get_submodule(name).state_dict(), strict=False)
        setattr(parent, name, frozen)


def _pass_images(model: "nn.Module", recipe: Recipe, keypoints: int) -> None:
    import torch

    from lth_deploy.detectors.inference import to_input
    from lth_deploy.detectors.raw_outputs import raw_outputs

    with torch.no_grad():
        if isinstance(recipe.detector, DetectorSpec):
            raw_outputs(model.train(), torch.randn(4, 3, 128, 128))
            return
        # Those images that the run will see: deep networks of random weights blow all others up.
        images = [to_input(torch.from_numpy(image)) for image in _images_of(recipe)]
        model.train()(images, [_object_in(image, keypoints) for image in images])


def _object_in(image: "Tensor", keypoints: int) -> "dict[str, Tensor]":
    """One object, with all that any detector learns from; each takes what it knows."""
    import torch

    mask = torch.zeros(1, *image.shape[-2:], dtype=torch.uint8)
    mask[:, 16:, 16:] = 1
    points = torch.full((1, keypoints, 3), 32.0)
    points[..., 2] = 2
    box = torch.tensor([[16.0, 16.0, *reversed(image.shape[-2:])]])
    return {"boxes": box, "labels": torch.tensor([1]), "masks": mask, "keypoints": points}


def _images_of(recipe: Recipe) -> "list[Image]":
    from lth_deploy import storage
    from lth_deploy.data.images import read_image
    from lth_deploy.workflow.search.splits import load_splits

    with storage.scratch("smoke") as folder:
        return [
            read_image(image.path).copy() for split in load_splits(recipe, folder).values() for image in split.images
        ]
