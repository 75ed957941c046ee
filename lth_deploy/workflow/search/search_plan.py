"""`find-ticket --plan`: what a search will do, and what it needs, before anything starts or is written."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import LthError, RecipeError
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.recipe_checks import check_recipe

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

_FLOAT = 4
_PLANNED_RANKS = (1, 8)


@dataclass(frozen=True)
class TrialSteps:
    """One trial of the plan: its optimizer steps, and the epochs that these are."""

    name: str
    kind: str
    steps: int
    epochs: float


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on each device when so many ranks train together.

    fixed: weights, gradients, optimizer state, and with several ranks the buffers of gradients that are sent.
    activations: of the images that a device computes at once; None where they could not be measured.
    """

    ranks: int
    images: int
    fixed: int
    activations: int | None


@dataclass(frozen=True)
class SearchPlan:
    """What a search will do. disk: bytes of its run directory at the most; free: bytes that the disk has now."""

    images: int
    batch: int
    batches_per_epoch: int
    trials: tuple[TrialSteps, ...]
    memory: tuple[DeviceMemory, ...]
    disk: int
    free: int

    @property
    def steps(self) -> int:
        """Optimizer steps of all trials."""
        return sum(trial.steps for trial in self.trials)


def plan_search(recipe: Recipe, out: Path) -> SearchPlan:
    """Plan the search of `recipe` in `out`, where nothing is written.

    Raises:
        RecipeError: the recipe asks for what cannot be done.
        DataError: the training images cannot be read.
        UsageError: there are fewer of them than a batch has.
    """
    require_torch("planning a search")
    from lth_deploy.data.batches.loader import batches_in_epoch

    check_recipe(recipe)
    images, classes, keypoints = _training_set(recipe)
    per_epoch = batches_in_epoch(images, recipe.training.batch_size)
    total = recipe.training.total_steps(per_epoch)
    rewind = recipe.pruning.rewind.at(per_epoch)
    if rewind >= total and recipe.pruning.schedule != "post_training":
        raise RecipeError(f"pruning.rewind: step {rewind} is not before the end of the training, step {total}")
    trials = _trials(recipe, total, rewind, per_epoch)
    model = _network(recipe, classes, keypoints)
    return SearchPlan(
        images=images,
        batch=recipe.training.batch_size,
        batches_per_epoch=per_epoch,
        trials=tuple(trials),
        memory=tuple(_memory(recipe, model)),
        disk=_disk(recipe, model, trials),
        free=_free(out),
    )


def _training_set(recipe: Recipe) -> tuple[int, int, int]:
    """Number of images, classes and keypoints; annotations are converted in a temporary folder."""
    from lth_deploy.workflow.search.splits import read_splits, split_files

    data = recipe.data
    if data.format == "shapes":
        from lth_deploy.data.shapes.drawing import KEYPOINTS
        from lth_deploy.data.shapes.generate import CLASSES

        return data.shapes.train, len(CLASSES), len(KEYPOINTS)
    if data.format == "own":
        raise RecipeError("a search with a training of its own has no plan here; its steps are those that it was given")
    only_train = recipe.model_copy(update={"data": data.model_copy(update={"val": None, "test": None})})
    with storage.scratch("plan") as folder:
        train = read_splits(only_train, split_files(only_train, folder))["train"]
    train = train.without_empty() if data.drop_empty else train
    return len(train.images), len(train.categories), len(train.keypoint_names)


def _trials(recipe: Recipe, total: int, rewind: int, per_epoch: int) -> list[TrialSteps]:
    from lth_deploy.pruning.search.plan import plan_trials
    from lth_deploy.pruning.search.restart import segment_of
    from lth_deploy.training.state import TrainingState

    planned = []
    for plan in plan_trials(recipe):
        if plan.kind == "int8":
            steps = recipe.quantization.total_steps(per_epoch, total)
        elif plan.kind == "ticket" and recipe.pruning.schedule == "post_training":
            steps = 0
        else:
            steps = len(segment_of(plan, recipe, total, rewind, lambda _: TrainingState(0, {})).steps)
        planned.append(TrialSteps(plan.name, plan.kind, steps, steps / per_epoch))
    return planned


def _network(recipe: Recipe, classes: int, keypoints: int) -> "nn.Module":
    import torch

    from lth_deploy.detectors import build_detector

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return build_detector(recipe.detector, classes, keypoints, load_weights=False)


def _slots(recipe: Recipe) -> int:
    """Numbers that the optimizer keeps for each weight."""
    return 1 if recipe.training.optimizer.name == "sgd" else 2


def _memory(recipe: Recipe, model: "nn.Module") -> list[DeviceMemory]:
    training = recipe.training
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    of_image = _activations(recipe, model)
    rows = []
    for ranks in sorted({*_PLANNED_RANKS, _launched_ranks()}):
        if training.batch_size % (ranks * training.accumulate):
            continue
        images = training.batch_size // ranks // training.accumulate
        fixed = weights + trained * _FLOAT * (1 + _slots(recipe) + (ranks > 1))
        rows.append(DeviceMemory(ranks, images, fixed, None if of_image is None else images * of_image))
    return rows


def _launched_ranks() -> int:
    text = os.environ.get("WORLD_SIZE", "1")
    return int(text) if text.isdecimal() and 0 < len(text) < 7 else 1


def _activations(recipe: Recipe, model: "nn.Module") -> int | None:
    """Bytes that one forward pass keeps for its backward pass, counted on one random image of the largest size."""
    import torch

    from lth_deploy.training.saved_bytes import saved_bytes

    longest, shortest = recipe.detector.load_size
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.bfloat16}[recipe.training.precision]
    try:
        return saved_bytes(model, (shortest, longest), half)
    except (RuntimeError, ValueError, KeyError, TypeError, LthError) as error:
        logger.info("the memory of activations cannot be measured on a random image: %s", error)
        return None


def _disk(recipe: Recipe, model: "nn.Module", trials: Sequence[TrialSteps]) -> int:
    """Weights and masks of all trials, the states to rewind to, and one checkpoint."""
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    state = weights + trained * _FLOAT * _slots(recipe)
    masks = sum(trial.kind not in ("dense", "dense_control") for trial in trials) * weights // (8 * _FLOAT)
    rewinds = 2 if recipe.pruning.permute != "none" else 1
    return len(trials) * weights + masks + (rewinds + 1) * state


def _free(out: Path) -> int:
    """Bytes that are free where `out` is, or will be."""
    place = out.absolute()
    while not place.exists():
        place = place.parent
    with storage.disk_errors(f"cannot look at the disk of {out}"):
        free: int = shutil.disk_usage(place).free
    return free
