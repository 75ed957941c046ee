"""`find-ticket`: data, detector, training and pruning composed into one resumable search."""

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config.detector_spec import AnyDetectorSpec
from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import RecipeError, UsageError
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.summary import RunSummary
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.layer_signals import positions_of, signal_of
from lth_deploy.workflow.search.recipe_checks import check_recipe, metric_kinds
from lth_deploy.workflow.search.run_folder import discarded_when_refused, opened_run
from lth_deploy.workflow.search.shared_dense import adopt_dense
from lth_deploy.workflow.search.splits import load_splits

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.coco.load import CocoDataset
    from lth_deploy.pruning.search.search import Search

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TicketResult:
    """What a search ended with. summary: what RUN/summary.json holds."""

    run: Path
    finished: bool
    summary: RunSummary


def find_ticket(
    recipe: Recipe,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    max_seconds: float | None = None,
    dense_from: Path | None = None,
) -> TicketResult:
    """Search a ticket as `recipe` says, in the run directory `out`.

    `dense_from` names a run with the same detector, data, training and rewind point: its finished dense trial is
    taken instead of training it again.

    A killed search loses at most `training.checkpoint_seconds` of work; `resume` goes on to the same masks and
    weights, bit for bit, on the same machine with the same versions and number of threads.

    Raises:
        RecipeError: the recipe asks for what cannot be done.
        DataError: images or annotations are faulty.
        UsageError: `out` holds something else.
        StorageError: the disk is full, or another process works on `out`.
        TrainingError: the loss stopped being finite.
    """
    require_torch("finding tickets")
    from lth_deploy.training.hooks import StopRequested
    from lth_deploy.workflow.search.summary import write_summary

    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    chosen = pick_device(device)
    check_recipe(recipe)
    with opened_run(recipe, out, resume) as (run, new):
        with discarded_when_refused(run) if new else nullcontext():
            splits = load_splits(recipe, run.path)
            search = _prepare(recipe, run, splits, chosen, deadline)
            if dense_from is not None and not run.trial("dense").finished:
                adopt_dense(run, dense_from)
        finished = True
        try:
            search.execute()
        except StopRequested:
            finished = False
            logger.info("the time limit is reached; go on with --resume")
        finally:
            search.batches.close()
        summary = write_summary(search, splits, finished)
    return TicketResult(run.path, finished, summary)


def build_model(recipe: Recipe, dataset: "CocoDataset", seed: int, pretrained: bool) -> "nn.Module":
    """A detector for `dataset` whose fresh weights are a function of `seed`."""
    import torch

    from lth_deploy.detectors import build_detector

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classes, points = len(dataset.categories), len(dataset.keypoint_names)
        return build_detector(recipe.detector, classes, points, load_weights=pretrained)


def _prepare(
    recipe: Recipe,
    run: RunDirectory,
    splits: Mapping[str, "CocoDataset"],
    device: "torch.device",
    deadline: float | None,
) -> "Search":
    import torch

    from lth_deploy.data.batches.loader import Batches, DetectionDataset
    from lth_deploy.pruning.search.search import Search

    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    training = recipe.training
    dataset = DetectionDataset(
        splits["train"].without_empty() if recipe.data.drop_empty else splits["train"],
        flip=training.flip,
        augment=training.augment,
        seed=training.seed,
        load_size=_load_size(recipe.detector),
        kinds=[kind for kind in metric_kinds(recipe) if kind != "top1"],
    )
    batches = Batches(dataset, training.batch_size, training.seed, training.workers)
    total = training.total_steps(batches.batches_per_epoch)
    rewind = recipe.pruning.rewind.at(batches.batches_per_epoch)
    if rewind >= total and recipe.pruning.schedule != "post_training":
        raise RecipeError(f"pruning.rewind: step {rewind} is not before the end of the training, step {total}")
    train_set = splits["train"]
    search = Search(
        run=run,
        recipe=recipe,
        device=device,
        batches=batches,
        total_steps=total,
        rewind_step=rewind,
        build=lambda seed, pretrained: build_model(recipe, train_set, seed, pretrained),
        score=lambda model: score_splits(model, recipe, splits, device),
        positions=lambda model: positions_of(model, splits["val"], device),
        measure=lambda signal, model: signal_of(signal, model, recipe, batches, device),
        deadline=deadline,
        quantization_steps=recipe.quantization.total_steps(batches.batches_per_epoch, total),
    )
    _hold_protocol(search, len(train_set.categories))
    search.check()
    return search


def _hold_protocol(search: "Search", classes: int) -> None:
    """Hold a detector from elsewhere to the protocol, on the first batch of the training."""
    from lth_deploy.detectors.sources.check import hold_protocol

    detector, seed = search.recipe.detector, search.recipe.training.seed
    if detector.source != "torchvision":
        hold_protocol(lambda: search.build(seed, True), detector.name, classes, *search.batches.batch(0))


def _load_size(detector: AnyDetectorSpec) -> tuple[int, int]:
    """Longest and shortest side that images are shrunk to when decoded; a classifier needs a margin to crop from."""
    if detector.name != "classifier":
        return detector.load_size
    from lth_deploy.data.images import LARGEST_SIDE
    from lth_deploy.detectors.families.classifier import MARGIN

    return LARGEST_SIDE, round(MARGIN * detector.load_size[1])


def score_splits(
    model: "nn.Module", recipe: Recipe, splits: Mapping[str, "CocoDataset"], device: "torch.device"
) -> dict[str, Any]:
    """AP, or a classifier's accuracy, on val and test, by split and kind."""
    from lth_deploy.evaluation.coco_ap import evaluate_detections
    from lth_deploy.workflow.search.top1 import top_accuracy
    from lth_deploy.workflow.search.torch_detect import detect

    scores: dict[str, Any] = {}
    for name in ("val", "test"):
        if name in splits:
            dataset = splits[name]
            if recipe.detector.name == "classifier":
                scores[name] = top_accuracy(model, dataset, device)
                continue
            found = detect(model, dataset, device)
            result = evaluate_detections(dataset.ground_truth(), found, dataset.category_ids, metric_kinds(recipe))
            scores[name] = result.metrics
    return scores


def pick_device(name: str) -> "torch.device":
    """The device called auto, cpu or cuda.

    Raises:
        UsageError: no such device, or cuda is asked for where there is none.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown --device '{name}'; choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")
