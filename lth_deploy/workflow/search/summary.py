"""What a search comes to: every trial with its accounting, and the winning ticket with its interval."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.search_spec import SourceSpec
from lth_deploy.mask import elements, kept, load_masks
from lth_deploy.pruning.search.plan import control_of
from lth_deploy.run.directory import RunDirectory, Trial, read_metrics

if TYPE_CHECKING:
    from torch import nn

    from lth_deploy.data.records import CocoDataset
    from lth_deploy.pruning.search.search import Search

logger = logging.getLogger(__name__)

SCHEMA = "lth-run/1"
ROUNDING = 1e-9
"""A ticket exactly as far below its control as is tolerated must not lose to the rounding of a difference."""


def write_summary(search: "Search", splits: Mapping[str, "CocoDataset"], finished: bool) -> dict[str, Any]:
    """Write RUN/summary.json from the finished trials and return its content."""
    from lth_deploy.pruning.accounting import parameters

    recipe, run = search.recipe, search.run
    model = search.build(recipe.training.seed, False)
    trials = [_trial_record(trial, search, model) for trial in run.finished_trials()]
    summary = {
        "schema": SCHEMA,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_digest": recipe.digest(),
        "finished": finished,
        "versions": run.manifest()["versions"],
        "dataset": {
            "classes": list(splits["train"].class_names),
            **{name: len(splits[name].images) if name in splits else 0 for name in ("train", "val", "test")},
        },
        "parameters": {
            "total": parameters(model),
            "prunable": sum(layer.weights.size for layer in search.trials.layers(model, _ones())),
        },
        "trials": trials,
        "notes": _notes(recipe),
        **(_conclusion(search, splits, trials) if finished else {"winner": None, "pictures": []}),
    }
    storage.write_json(run.summary, summary)
    run.commit([run.summary])
    return summary


def pick_winner(recipe: Recipe, trials: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The sparsest ticket whose AP on val is within the tolerance of the dense control; None when there is none."""
    by_name = {trial["name"]: trial for trial in trials}
    control = by_name.get(control_of(recipe))
    floor = None if control is None else _ap(control, "val", recipe)
    # Beside a control that learned nothing every ticket would win.
    if floor is None or floor <= recipe.selection.tolerance:
        return None
    tickets = [t for t in trials if t["kind"] == "ticket" and _ap(t, "val", recipe) is not None]
    good = [t for t in tickets if _ap(t, "val", recipe) >= floor - recipe.selection.tolerance - ROUNDING]  # type: ignore[operator]
    return max(good, key=lambda trial: trial["sparsity"], default=None)


def _conclusion(search: "Search", splits: Mapping[str, "CocoDataset"], trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What needs the detectors of control and ticket, which are loaded once: the winner's interval, and pictures."""
    from lth_deploy.workflow.search.example_images import write_pictures

    recipe = search.recipe
    winner = pick_winner(recipe, trials)
    shown = winner or next(trial for trial in reversed(trials) if trial["kind"] == "ticket")
    split = "test" if "test" in splits else "val"
    control, ticket = (search.trials.trained(name).to(search.device) for name in (control_of(recipe), shown["name"]))
    interval = _interval(search, splits[split], ticket, control) if winner else None
    models = {control_of(recipe): control, shown["name"]: ticket}
    return {
        "winner": {**_winner(recipe, trials, winner), "interval_split": split, "interval": interval}
        if winner
        else None,
        "pictures": []
        if recipe.detector.name == "classifier"
        else write_pictures(search.run.path, splits[split], models, search.device),
    }


def _winner(recipe: Recipe, trials: list[dict[str, Any]], best: dict[str, Any]) -> dict[str, Any]:
    control = next(trial for trial in trials if trial["name"] == control_of(recipe))
    return {
        "trial": best["name"],
        "control": control["name"],
        "tolerance": recipe.selection.tolerance,
        "metric": recipe.selection.metric,
        "val_ap": _ap(best, "val", recipe),
        "dense_val_ap": _ap(control, "val", recipe),
        "test_ap": _ap(best, "test", recipe),
        "dense_test_ap": _ap(control, "test", recipe),
    }


def _interval(search: "Search", dataset: "CocoDataset", ticket: "nn.Module", control: "nn.Module") -> list[float]:
    """95 % paired bootstrap interval of AP(ticket) - AP(control), or of accuracies, over images."""
    from lth_deploy.evaluation.bootstrap import paired_bootstrap
    from lth_deploy.workflow.search.top1 import accuracy_interval
    from lth_deploy.workflow.search.torch_detect import detect

    selection = search.recipe.selection
    if search.recipe.detector.name == "classifier":
        sure = accuracy_interval((ticket, control), dataset, search.device, search.recipe)
        return [sure.low, sure.high]
    interval = paired_bootstrap(
        dataset.ground_truth(),
        detect(ticket, dataset, search.device),
        detect(control, dataset, search.device),
        dataset.category_ids,
        selection.metric,
        samples=selection.bootstrap_samples,
        seed=search.recipe.training.seed,
    )
    return [interval.low, interval.high]


def _trial_record(trial: Trial, search: "Search", model: "nn.Module") -> dict[str, Any]:
    from lth_deploy.pruning.accounting import parameters, parts_of

    result = trial.read_result()
    masks = load_masks(trial.mask) if search.run.is_committed(trial.mask) else {}
    positions = result["positions"]
    del result["positions"]
    layers = search.trials.scoped(model)
    weights = dict(model.named_parameters())
    metrics = read_metrics(trial.metrics)
    stride = max(1, len(metrics) // 200)
    return {
        **result,
        "steps": result["steps"][1] - result["steps"][0],
        "sparsity_all": (elements(masks) - kept(masks)) / parameters(model),
        "parts": [asdict(part) for part in parts_of(model, layers, masks)],
        "layers": [
            {
                "name": layer.name,
                "group": layer.group,
                "shape": list(weights[layer.name].shape),
                "elements": weights[layer.name].numel(),
                "zeros": int((~masks[layer.name]).sum()) if masks else 0,
                "positions": positions[layer.name],
            }
            for layer in layers
        ],
        "losses": [[record["step"], record["loss"]] for record in metrics[::stride]],
    }


def _ap(trial: Mapping[str, Any], split: str, recipe: Recipe) -> float | None:
    metrics = (trial.get(split) or {}).get(recipe.selection.metric)
    return None if metrics is None else metrics["AP"]


def _notes(recipe: Recipe) -> list[str]:
    notes = []
    if recipe.source is not None:
        notes.append(_source_note(recipe, recipe.source))
    if recipe.detector.norm == "group":
        notes.append("group norm cannot be folded into convolutions: it stays in the exported graph and costs time")
    if recipe.pruning.restart != "weights" and len(recipe.pruning.level_list()) > 1:
        notes.append(
            "without weight rewinding a ticket of round r has trained r times on; its dense control was restarted once"
        )
    return notes


def _source_note(recipe: Recipe, source: SourceSpec) -> str:
    """Where the tickets come from, and whether that network saw images as this one does."""
    theirs, ours = RunDirectory.open(Path(source.run)).recipe().detector, recipe.detector
    what = "masks, weights and norm statistics" if source.transfer == "ticket" else "masks alone"
    sides = [f"{spec.min_size} to {spec.max_size} pixels" for spec in (theirs, ours)]
    sizes = f"pictures of {sides[0]} there, of {sides[1]} here" if sides[0] != sides[1] else f"pictures of {sides[0]}"
    return f"{what} come from {source.run}; both networks see RGB with the same mean and deviation, {sizes}"


def _ones() -> Mapping[str, float]:
    from collections import defaultdict

    return defaultdict(lambda: 1.0)
