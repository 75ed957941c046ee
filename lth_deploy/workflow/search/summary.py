"""What a search comes to: every trial with its accounting, and the winning ticket with its interval."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.search_spec import SourceSpec
from lth_deploy.mask import elements, kept, load_masks
from lth_deploy.pruning.search.plan import control_of
from lth_deploy.run.directory import RunDirectory, Trial, read_metrics
from lth_deploy.run.remote.look import run_at
from lth_deploy.run.summary import (
    DatasetSummary,
    ExampleImage,
    LayerSummary,
    RunSummary,
    TrialSummary,
    WeightCounts,
    Winner,
)
from lth_deploy.run.trial_result import TrialFigures, require_positions

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.data.records import CocoDataset
    from lth_deploy.pruning.search.search import Search

logger = logging.getLogger(__name__)

ROUNDING = 1e-9
"""A ticket exactly as far below its control as is tolerated must not lose to the rounding of a difference."""


def write_summary(search: "Search", splits: Mapping[str, "CocoDataset"], finished: bool) -> RunSummary:
    """Write RUN/summary.json from the finished trials, and return it."""
    sizes = {name: len(splits[name].images) if name in splits else 0 for name in ("train", "val", "test")}

    def conclude(trials: Sequence[TrialSummary]) -> tuple[Winner | None, list[ExampleImage]]:
        return _conclusion(search, splits, trials) if finished else (None, [])

    dataset = DatasetSummary(classes=list(splits["train"].class_names), **sizes)
    return store_summary(search, dataset, _notes(search.recipe), conclude, finished)


def store_summary(
    search: "Search",
    dataset: DatasetSummary,
    notes: list[str],
    conclude: Callable[[Sequence[TrialSummary]], tuple[Winner | None, list[ExampleImage]]],
    finished: bool,
) -> RunSummary:
    """Write RUN/summary.json; `conclude` gives the winner and images with detections from the finished trials."""
    from lth_deploy.pruning.accounting import parameters

    recipe, run = search.recipe, search.run
    model = search.build(recipe.training.seed, False)
    trials = [_trial_summary(trial, search, model) for trial in run.finished_trials()]
    winner, images = conclude(trials)
    summary = RunSummary(
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest(),
        finished=finished,
        versions=run.manifest()["versions"],
        dataset=dataset,
        parameters=WeightCounts(
            total=parameters(model),
            prunable=sum(model.get_parameter(layer.name).numel() for layer in search.trials.scoped(model)),
        ),
        trials=trials,
        notes=notes,
        winner=winner,
        pictures=images,
    )
    storage.write_json(run.summary, summary.as_json())
    run.commit([run.summary])
    return summary


def pick_winner(recipe: Recipe, trials: Sequence[TrialSummary]) -> TrialSummary | None:
    """The sparsest ticket whose AP on val is within the tolerance of the dense control; None when there is none."""
    metric, tolerance = recipe.selection.metric, recipe.selection.tolerance
    control = next((trial for trial in trials if trial.name == control_of(recipe)), None)
    dense_ap = None if control is None else control.ap("val", metric)
    # Beside a control that learned nothing every ticket would win.
    if dense_ap is None or dense_ap <= tolerance:
        return None
    tickets = ((trial, trial.ap("val", metric)) for trial in trials if trial.kind == "ticket")
    good = [trial for trial, ap in tickets if ap is not None and ap >= dense_ap - tolerance - ROUNDING]
    return max(good, key=lambda trial: trial.sparsity or 0.0, default=None)


def _conclusion(
    search: "Search", splits: Mapping[str, "CocoDataset"], trials: Sequence[TrialSummary]
) -> tuple[Winner | None, list[ExampleImage]]:
    """The winner with its interval, and example images; the two detectors that both need are loaded once."""
    from lth_deploy.workflow.search.example_images import write_pictures

    recipe = search.recipe
    best = pick_winner(recipe, trials)
    shown = best or next(trial for trial in reversed(trials) if trial.kind == "ticket")
    split = "test" if "test" in splits else "val"
    control, ticket = (search.trials.trained(name).to(search.device) for name in (control_of(recipe), shown.name))
    winner = None
    if best is not None:
        winner = winner_of(recipe, trials, best, split, _interval(search, splits[split], split, ticket, control))
    if recipe.detector.name == "classifier":
        return winner, []
    models = {control_of(recipe): control, shown.name: ticket}
    return winner, write_pictures(search.run.path, splits[split], models, search.device)


def winner_of(
    recipe: Recipe,
    trials: Sequence[TrialSummary],
    best: TrialSummary,
    split: str,
    interval: tuple[float, float] | None = None,
) -> Winner:
    """`best` beside the dense control, with the interval of their difference on `split` where it was measured."""
    metric = recipe.selection.metric
    control = next(trial for trial in trials if trial.name == control_of(recipe))
    return Winner(
        trial=best.name,
        control=control.name,
        tolerance=recipe.selection.tolerance,
        metric=metric,
        val_ap=best.ap("val", metric),
        dense_val_ap=control.ap("val", metric),
        test_ap=best.ap("test", metric),
        dense_test_ap=control.ap("test", metric),
        interval_split=split,
        interval=interval,
    )


def _interval(
    search: "Search", dataset: "CocoDataset", split: str, ticket: "nn.Module", control: "nn.Module"
) -> tuple[float, float]:
    """95 % paired bootstrap interval of AP(ticket) - AP(control), or of accuracies, over images."""
    from lth_deploy.evaluation.bootstrap import paired_bootstrap
    from lth_deploy.workflow.search.top1 import accuracy_interval
    from lth_deploy.workflow.search.torch_detect import detect

    selection = search.recipe.selection
    if search.recipe.detector.name == "classifier":
        accuracy = accuracy_interval((ticket, control), dataset, search.device, search.recipe, split)
        return accuracy.low, accuracy.high
    interval = paired_bootstrap(
        dataset.ground_truth(),
        detect(ticket, dataset, search.device, split=split),
        detect(control, dataset, search.device, split=split),
        dataset.category_ids,
        selection.metric,
        samples=selection.bootstrap_samples,
        seed=search.recipe.training.seed,
    )
    return interval.low, interval.high


def _trial_summary(trial: Trial, search: "Search", model: "nn.Module") -> TrialSummary:
    from lth_deploy.pruning.accounting import parameters, parts_of

    result = trial.read_result()
    masks = load_masks(trial.mask) if search.run.is_committed(trial.mask) else {}
    layers = search.trials.scoped(model)
    require_positions(result.positions, (layer.name for layer in layers))
    weights = dict(model.named_parameters())
    metrics = read_metrics(trial.metrics)
    stride = max(1, len(metrics) // 200)
    figures = {key: getattr(result, key) for key in TrialFigures.model_fields if key in result.model_fields_set}
    return TrialSummary(
        **{**figures, "steps": result.steps[1] - result.steps[0]},
        sparsity_all=(elements(masks) - kept(masks)) / parameters(model),
        parts=parts_of(model, layers, masks),
        layers=[
            LayerSummary(
                name=layer.name,
                group=layer.group,
                shape=list(weights[layer.name].shape),
                elements=weights[layer.name].numel(),
                zeros=int((~masks[layer.name]).sum()) if masks else 0,
                positions=result.positions[layer.name],
            )
            for layer in layers
        ],
        losses=[(record["step"], record["loss"]) for record in metrics[::stride]],
    )


def _notes(recipe: Recipe) -> list[str]:
    from lth_deploy.training.ranks.process_group import current_ranks

    notes = [batch_note(recipe, current_ranks().size)] if current_ranks().shared else []
    if recipe.source is not None:
        notes.append(_source_note(recipe, recipe.source))
    if isinstance(recipe.detector, DetectorSpec) and recipe.detector.norm == "group":
        notes.append("group norm cannot be folded into convolutions: it stays in the exported graph and costs time")
    if recipe.pruning.restart != "weights" and len(recipe.pruning.level_list()) > 1:
        notes.append(
            "without weight rewinding a ticket of round r has trained r times on; its dense control was restarted once"
        )
    return notes


def batch_note(recipe: Recipe, ranks: int) -> str:
    """How a batch was divided among ranks, and what that means for the learning rate."""
    batch, lr = recipe.training.batch_size, recipe.training.optimizer.lr
    norms = "statistics of all ranks" if recipe.training.sync_norms else "the statistics of each rank's own images"
    return (
        f"trained on {ranks} ranks: {batch} images a step, {batch // ranks} on each rank; the learning rate stays the "
        f"recipe's {lr:g}, because the batch does; batch norms that learn use {norms}"
    )


def _source_note(recipe: Recipe, source: SourceSpec) -> str:
    """Where the tickets come from, and whether that network saw images as this one does."""
    with run_at(source.run) as folder:
        theirs, ours = RunDirectory.open(folder).recipe().detector, recipe.detector
    what = "masks, weights and norm statistics" if source.transfer == "ticket" else "masks alone"
    sides = [f"{spec.load_size[1]} to {spec.load_size[0]} pixels" for spec in (theirs, ours)]
    sizes = f"images of {sides[0]} there, of {sides[1]} here" if sides[0] != sides[1] else f"images of {sides[0]}"
    return f"{what} come from {source.run}; both networks see RGB with the same mean and deviation, {sizes}"
