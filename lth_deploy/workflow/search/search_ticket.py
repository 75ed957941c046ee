"""`search_ticket`: iterative pruning with rewinding around a training that stays the user's own."""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import Recipe, recipe_from
from lth_deploy.config.search_spec import ControlsSpec, PruningSpec
from lth_deploy.errors import RecipeError, UsageError
from lth_deploy.run.callbacks import Callback, Callbacks
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.summary import DatasetSummary, ExampleImage, TrialSummary, Winner
from lth_deploy.workflow.require_extra import require_torch
from lth_deploy.workflow.search.find_ticket import TicketResult
from lth_deploy.workflow.search.run_folder import discarded_when_refused, opened_run

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.mask import Masks
    from lth_deploy.pruning.search.search import Search
    from lth_deploy.training.loop import Batch
    from lth_deploy.training.user_session import Train

logger = logging.getLogger(__name__)


def search_ticket(
    model: "nn.Module | Callable[[int], nn.Module]",
    *,
    train: "Train",
    evaluate: "Callable[[nn.Module], float]",
    pruning: PruningSpec | Mapping[str, Any],
    steps: int,
    out: Path | str,
    controls: ControlsSpec | Mapping[str, Any] | None = None,
    example: tuple[Any, ...] | None = None,
    predictors: Sequence[str] = (),
    steps_per_epoch: int = 1,
    tolerance: float = 0.01,
    metric: str = "score",
    seed: int = 0,
    resume: bool = False,
    max_seconds: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> TicketResult:
    """Search a ticket of `model`, which `train` trains, in the run directory `out`.

    The same search as `find_ticket`: a dense training, then levels of pruning, each rewound and trained again under
    its mask, and the controls. While `train` runs under a mask, every step of an optimizer of torch keeps it, as
    `hold` does. A search that was killed goes on with `resume`; it loses the call of `train` that was running.

    Args:
        model: the network with its first weights, on the device that it trains on; or a function of a seed that
            builds one, which the control `reinit` needs.
        train: `train(model, start, stop)` trains the network from step `start` to step `stop`, in the unit of `steps`,
            and may return its mean loss. It builds its optimizer itself, and is called once for a training, but twice
            for one that has the rewind point inside, and from ranking to ranking with a gradual schedule.
        evaluate: `evaluate(model)` scores a network in evaluation mode: a share from 0 to 1, larger is better.
        pruning: the section `pruning` of a recipe.
        steps: length of the dense training.
        out: a new directory, or with `resume` that of the same search.
        controls: the section `controls` of a recipe.
        example: arguments of one forward pass, by which multiplications are counted; allocation `macs` needs it.
        predictors: layers whose outputs are logits and boxes; they stay dense unless `pruning.groups` names them.
        steps_per_epoch: for `pruning.rewind.epoch`; 1 where a step is an epoch.
        tolerance: how much a winner may lose.
        metric: what reports call the score: score, bbox, segm, keypoints or top1.
        seed: of torch's generator before each call of `train`, of new weights and of random masks.
        resume: go on with an interrupted search.
        max_seconds: stop at the end of the piece in which this time is over.
        callbacks: what looks on, see `Callback`; an epoch is `steps_per_epoch` steps.

    Raises:
        RecipeError: `pruning` or `controls` ask for what this network does not have.
        UsageError: `out` holds something else, or a function returned something else than a score or a loss.
        StorageError: the disk is full, or another process works on `out`.
        TrainingError: weights stopped being finite, or something changed pruned ones outside of a step.
    """
    require_torch("finding tickets")
    from lth_deploy.training.hooks import StopRequested

    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    network = _Network(model, seed, tuple(predictors))
    sections = {"pruning": _plain(pruning), "controls": _plain(controls or {})}
    recipe = _recipe(network, steps, seed, sections, tolerance, metric)
    _check(recipe, network, example)
    rewind = recipe.pruning.rewind.at(steps_per_epoch)
    if rewind >= steps:
        raise RecipeError(f"pruning.rewind: step {rewind} is not before the end of the training, step {steps}")
    with opened_run(recipe, Path(out), resume) as (run, new):
        search = _search(run, recipe, network, train, evaluate, rewind, example, deadline)
        search = replace(search, callbacks=Callbacks(list(callbacks)), steps_per_epoch=steps_per_epoch)
        with discarded_when_refused(run) if new else nullcontext():
            search.check()
        finished = True
        search.callbacks.begin(run.path, recipe)
        try:
            search.execute()
        except StopRequested:
            finished = False
            logger.info("the time limit is reached; go on with resume=True")
        summary = _summary(search, finished)
        search.callbacks.end(run.path, summary)
    return TicketResult(run.path, finished, summary)


def load_ticket(run: Path | str, model: "nn.Module", level: str = "best") -> "Masks":
    """Load the weights of a ticket that `search_ticket` found into `model`, and return its masks.

    level: best, a sparsity in per cent, or the name of a trial, for instance dense.

    Raises:
        DataError: `run` is no run directory, is damaged, or its tickets are of another network.
        UsageError: the run has no such level.
        GateError: `best` is asked for and no level won.
    """
    require_torch("loading a ticket")
    from lth_deploy.mask import load_masks
    from lth_deploy.training.state import TrainingState
    from lth_deploy.workflow.export.from_run import choose_trial

    directory = RunDirectory.open(Path(run))
    trial = choose_trial(directory, level)
    directory.verify(trial.weights)
    TrainingState.load(trial.weights).restore(model)
    if not directory.is_committed(trial.mask):
        return {}
    directory.verify(trial.mask)
    return load_masks(trial.mask)


@dataclass(frozen=True)
class _Network:
    """The user's network: fresh copies of it, and what a run says of it."""

    given: "nn.Module | Callable[[int], nn.Module]"
    seed: int
    predictors: tuple[str, ...]

    @property
    def built(self) -> bool:
        """Whether new weights can be made."""
        from torch import nn

        return not isinstance(self.given, nn.Module)

    def build(self, seed: int, pretrained: bool) -> "nn.Module":
        """A network of its own, on the CPU; one that was given ready has always the same weights."""
        import torch
        from torch import nn

        from lth_deploy.detectors.layout import Layout, set_layout

        if isinstance(self.given, nn.Module):
            model = copy.deepcopy(self.given)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = self.given(seed)
            if not isinstance(model, nn.Module):
                raise UsageError(f"model({seed}) returned a {type(model).__name__}; return a torch.nn.Module")
        set_layout(model, Layout(predictors=self.predictors))
        return model.to("cpu")

    def device(self) -> "torch.device":
        """Where it trains: the device of its parameters, as they were given."""
        import torch
        from torch import nn

        model = self.given if isinstance(self.given, nn.Module) else self.given(self.seed)
        return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


class _NoBatches:
    """Batches are the business of the user's function."""

    def batch(self, step: int) -> "Batch":
        """There are none."""
        raise RecipeError("a search with a training of its own has no batches here")

    def part(self, rank: int, ranks: int) -> "_NoBatches":
        """There are none to divide."""
        return self

    def close(self) -> None:
        """Nothing to close."""


def _plain(section: object) -> dict[str, Any]:
    if isinstance(section, PruningSpec | ControlsSpec):
        return section.model_dump(mode="json", exclude_unset=True)
    if not isinstance(section, Mapping):
        raise UsageError(f"pruning and controls are sections of a recipe, found a {type(section).__name__}")
    return dict(section)


def _recipe(
    network: _Network, steps: int, seed: int, sections: dict[str, dict[str, Any]], tolerance: float, metric: str
) -> Recipe:
    """The recipe that the run directory keeps; it is validated as one that was written by hand."""
    from lth_deploy.training.state_digest import digest_of

    model = network.build(seed, True)
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    document = {
        "name": type(model).__name__,
        "detector": {"source": "own_trainer", "model": type(model).__qualname__, "digest": digest_of("", tensors)},
        "data": {"format": "own"},
        "training": {"steps": steps, "seed": seed},
        **sections,
        "selection": {"tolerance": tolerance, "metric": metric},
    }
    return recipe_from(strict_yaml.Document("search_ticket", document, {}))


def _check(recipe: Recipe, network: _Network, example: tuple[Any, ...] | None) -> None:
    """Refuse what needs batches, images or another network."""
    from lth_deploy.pruning.ranking.criteria import CRITERIA

    pruning = recipe.pruning
    faults = {
        "criterion": CRITERIA.get(pruning.criterion).signal is not None,
        "schedule": pruning.schedule == "post_training",
        "permute": pruning.permute != "none",
        "structure": pruning.structure == "filter",
    }
    for key, faulty in faults.items():
        if faulty:
            raise RecipeError(
                f"pruning.{key} '{getattr(pruning, key)}' looks at images or losses of a detector that find-ticket "
                "builds; search_ticket has none: choose another"
            )
    if pruning.allocation == "macs" and example is None:
        raise RecipeError("pruning.allocation 'macs' counts multiplications: give example, arguments of one pass")
    if recipe.controls.reinit and not network.built:
        raise RecipeError("controls.reinit needs new weights: give as model a function of a seed that builds one")


def _search(
    run: RunDirectory,
    recipe: Recipe,
    network: _Network,
    train: "Train",
    evaluate: "Callable[[nn.Module], float]",
    rewind: int,
    example: tuple[Any, ...] | None,
    deadline: float | None,
) -> "Search":
    from lth_deploy.pruning.mac_positions import count_positions
    from lth_deploy.pruning.scope import prunable_layers
    from lth_deploy.pruning.search.search import Search
    from lth_deploy.training.user_session import UserSession

    def positions(model: "nn.Module") -> Mapping[str, float]:
        layers = prunable_layers(model)
        if example is None:
            return dict.fromkeys((layer.name for layer in layers), 1.0)
        return count_positions(model, layers, lambda: model(*example))

    def score(model: "nn.Module") -> dict[str, Any]:
        value = evaluate(model.eval())
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or math.isnan(value):
            raise UsageError(f"evaluate returned {value!r:.60}; return a share from 0 to 1, larger is better")
        return {"val": {recipe.selection.metric: {"AP": float(value)}}}

    def no_signal(signal: object, model: object) -> Any:
        raise RecipeError(f"no {signal} can be measured here")

    return Search(
        run=run,
        recipe=recipe,
        device=network.device(),
        batches=_NoBatches(),
        total_steps=recipe.training.steps or 0,
        rewind_step=rewind,
        build=network.build,
        score=score,
        positions=positions,
        measure=no_signal,
        deadline=deadline,
        new_session=lambda spec, device, model, trial, masks: UserSession(train, spec.seed, model, trial, masks),
    )


def _summary(search: "Search", finished: bool) -> Any:
    from lth_deploy.workflow.search.summary import pick_winner, store_summary, winner_of

    def conclude(trials: Sequence[TrialSummary]) -> tuple[Winner | None, list[ExampleImage]]:
        best = pick_winner(search.recipe, trials) if finished else None
        return None if best is None else winner_of(search.recipe, trials, best, "val"), []

    notes = ["trained by a function of the user's own; scores are those of its evaluate"]
    return store_summary(search, DatasetSummary(), notes, conclude, finished)
