"""`--smoke`: a recipe cut down to two steps on generated data, to prove in a minute that every part of it runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.recipe import DataSpec, Recipe, ShapesSpec
from lth_deploy.recipe_pruning import RewindSpec
from lth_deploy.workflow.extras import require_torch

if TYPE_CHECKING:
    from torch import nn

SHAPES = ShapesSpec(train=4, val=2, test=2, width=96, height=96)
CLASSES, KEYPOINTS = 3, 4


def smoke_recipe(recipe: Recipe, weights: Path) -> Recipe:
    """The same detector, optimizer and pruning axes in two steps a trial; writes its initial weights to `weights`.

    Pyramid and heads are narrowed, so that the COCO recipes too take seconds.

    A detector that has hardly trained scores everything alike, and then no two implementations rank its boxes in
    the same order. So the smoke run starts from weights whose scores differ, which gives parity something to hold.

    Raises:
        MissingExtraError: torch is not installed.
    """
    require_torch("a smoke run")
    level = recipe.pruning.level_list()[-1]
    training = {"steps": 2, "epochs": None, "batch_size": min(recipe.training.batch_size, 2), "amp": "off"}
    detector = {
        "weights": "none",
        "fpn_width": min(recipe.detector.fpn_width, 64),
        "head_width": min(recipe.detector.head_width, 128),
        "min_size": 96,
        "max_size": 128,
        "proposals": 40,
        "detections": 8,
        "score_threshold": 0.0,
    }
    small = recipe.model_copy(
        update={
            "name": f"{recipe.name}.smoke",
            "detector": recipe.detector.model_copy(update=detector),
            "data": DataSpec(format="shapes", shapes=SHAPES),
            "training": recipe.training.model_copy(update=training),
            "pruning": recipe.pruning.model_copy(update={"levels": [level], "rewind": RewindSpec(step=1)}),
            "controls": recipe.controls.model_copy(update={"random": [level], "reinit": []}),
        }
    )
    _write_lively_weights(small, weights)
    return small.model_copy(update={"detector": small.detector.model_copy(update={"weights": str(weights)})})


def _write_lively_weights(recipe: Recipe, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from lth_deploy import storage
    from lth_deploy.detectors import build_detector

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = build_detector(recipe.detector, CLASSES, KEYPOINTS)
        _spread_scores(model)
        _calibrate_norms(model)
    state = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    storage.write_atomically(path, lambda file: save_file(state, file))


def _spread_scores(model: "nn.Module") -> None:
    from torch import nn

    from lth_deploy.detectors.groups import layer_groups, prunable_modules

    groups = layer_groups(model)
    for name in prunable_modules(model):
        weight = model.get_parameter(f"{name}.weight")
        if groups[name] == "predictor":
            # Logits of about 1: larger ones saturate into equal scores, smaller ones differ by less than rounding.
            # Offsets of boxes are a tenth of that, as trained ones are: larger ones blow rounding up to whole pixels.
            scale = 0.1 if name.endswith("bbox_pred") else 1.0
            nn.init.normal_(weight, std=scale * weight[0].numel() ** -0.5)
        elif groups[name] != "backbone":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")


def _calibrate_norms(model: "nn.Module") -> None:
    """Give batch norms the statistics of what flows through them, as a trained network has."""
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().get_submodule("backbone")(torch.randn(4, 3, 128, 128))
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
