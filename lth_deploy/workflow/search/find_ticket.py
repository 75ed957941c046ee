"""`find-ticket`: data, detector, training and pruning composed into one resumable search."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config.detector_spec import AnyDetectorSpec
from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import DataError, LthError, RecipeError, UsageError
from lth_deploy.run.callbacks import Callback, Callbacks
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.summary import RunSummary
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.layer_signals import positions_of, signal_of
from lth_deploy.workflow.search.recipe_checks import check_recipe, metric_kinds
from lth_deploy.workflow.search.run_folder import discarded_when_refused, opened_run
from lth_deploy.workflow.search.shared_dense import adopt_dense
from lth_deploy.workflow.search.splits import read_splits, split_files
from lth_deploy.workflow.tracking import callbacks_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.batches.loader import Batches
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
    dense_from: Path | str | None = None,
    callbacks: Sequence[Callback] = (),
) -> TicketResult:
    """Search a ticket as `recipe` says, in the run directory `out`.

    `dense_from` is the path or URL of a run with the same detector, data, training and rewind point: its finished
    dense trial is taken instead of training it again.

    A killed search loses at most `training.checkpoint_seconds` of work; `resume` goes on to the same masks and
    weights, bit for bit, on the same machine with the same versions and number of threads.

    `callbacks` look on, besides those that the recipe names in `tracking`; see `Callback`.

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
            splits = splits_of_all_ranks(recipe, run.path)
            followed = callbacks_of(recipe.tracking, run.path, callbacks)
            search = _prepare(recipe, run, splits, chosen, deadline, followed)
            if dense_from is not None and not run.trial("dense").finished:
                adopt_dense(run, dense_from)
        finished = True
        followed.begin(run.path, recipe)
        try:
            search.execute()
        except StopRequested:
            finished = False
            logger.info("the time limit is reached; go on with --resume")
        finally:
            search.batches.close()
        summary = write_summary(search, splits, finished)
        followed.end(run.path, summary)
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
    callbacks: Callbacks,
) -> "Search":
    from lth_deploy.pruning.search.search import Search

    training, train_set = recipe.training, splits["train"]
    batches = batches_of(recipe, train_set, device)
    total = training.total_steps(batches.batches_per_epoch)
    rewind = recipe.pruning.rewind.at(batches.batches_per_epoch)
    if rewind >= total and recipe.pruning.schedule != "post_training":
        raise RecipeError(f"pruning.rewind: step {rewind} is not before the end of the training, step {total}")
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
        callbacks=callbacks,
        steps_per_epoch=batches.batches_per_epoch,
    )
    _hold_protocol(search, len(train_set.categories))
    search.check()
    return search


def splits_of_all_ranks(recipe: Recipe, run: Path) -> dict[str, "CocoDataset"]:
    """The data sets of a recipe by split, the same on all ranks of this training; rank 0 makes them, others read.

    Raises:
        DataError: see `load_coco`; or a rank sees other data.
    """
    from lth_deploy.training.ranks.process_group import current_ranks
    from lth_deploy.workflow.search.summary import batch_note

    ranks, files = current_ranks(), split_files(recipe, run)
    splits = read_splits(recipe, files)
    if ranks.shared:
        paths = {name: [str(file.absolute()) for file in pair] for name, pair in files.items()}
        with ranks.together({"do": "begin", "recipe": recipe.model_dump(mode="json"), "files": paths}):
            require_same_splits(splits)
        logger.info("%s", batch_note(recipe, ranks.size))
    return splits


def require_same_splits(splits: Mapping[str, "CocoDataset"], unread: LthError | None = None) -> None:
    """Compare the data of all ranks; they call it together. unread: why this one, which is not rank 0, has none.

    Raises:
        DataError: on rank 0: a rank sees other data.
    """
    from lth_deploy.training.ranks.process_group import current_ranks

    seen = ", ".join(f"{len(one.images)} images in {name} (digest {one.digest():.8})" for name, one in splits.items())
    if unread is not None:
        seen = f"no data ({str(unread).splitlines()[0]})"
    fault = "rank {rank} sees {theirs}, and rank 0 sees {ours}; give all ranks the same files"
    current_ranks().require_same(seen, fault, DataError)


def batches_of(recipe: Recipe, train_set: "CocoDataset", device: "torch.device") -> "Batches":
    """The batches of a training on `device`; torch gets the threads that the recipe names.

    Raises:
        UsageError: a batch cannot be divided among the ranks and the parts that the recipe asks for.
    """
    import torch

    from lth_deploy.data.batches.loader import CACHE_BYTES, Batches, DetectionDataset
    from lth_deploy.training.ranks.process_group import current_ranks, local_size

    training = recipe.training
    if training.threads:
        torch.set_num_threads(training.threads)
    dataset = DetectionDataset(
        train_set.without_empty() if recipe.data.drop_empty else train_set,
        flip=training.flip,
        augment=training.augment,
        seed=training.seed,
        load_size=_load_size(recipe.detector),
        kinds=[kind for kind in metric_kinds(recipe) if kind != "top1"],
        cache_bytes=CACHE_BYTES // local_size(),
    )
    ranks, parts = current_ranks().size, training.accumulate
    batches = Batches(dataset, training.batch_size, training.seed, training.workers, pinned=device.type == "cuda")
    batches.part(0, ranks).close()  # refuses a batch that cannot be divided
    if training.batch_size // ranks % parts:
        raise UsageError(
            f"training.accumulate {parts} does not divide the {training.batch_size // ranks} images that a rank has in "
            f"a step; make training.batch_size a multiple of {ranks * parts}"
        )
    return batches


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
    """AP, or a classifier's accuracy, on val and test, by split and kind.

    Val is what a search chooses by, trial after trial, so the fast engine computes its AP. AP on test is the result,
    which pycocotools computes.
    """
    from lth_deploy.evaluation.coco_ap import Engine, evaluate_detections
    from lth_deploy.workflow.search.top1 import top_accuracy
    from lth_deploy.workflow.search.torch_detect import detect

    scores: dict[str, Any] = {}
    for name in ("val", "test"):
        if name in splits:
            dataset = splits[name]
            if recipe.detector.name == "classifier":
                scores[name] = top_accuracy(model, dataset, device, name)
                continue
            found = detect(model, dataset, device, split=name)
            kinds = metric_kinds(recipe)
            engine: Engine = "pycocotools" if name == "test" else "faster-coco-eval"
            result = evaluate_detections(dataset.ground_truth(), found, dataset.category_ids, kinds, engine=engine)
            scores[name] = result.metrics
    return scores


def pick_device(name: str) -> "torch.device":
    """The device called auto, cpu or cuda.

    Raises:
        UsageError: no such device, or cuda is asked for where there is none.
    """
    import torch

    from lth_deploy.training.ranks.process_group import local_rank, local_size

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown --device '{name}'; choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu")
    if name == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", local_rank()) if local_size() > 1 else torch.device("cuda")
