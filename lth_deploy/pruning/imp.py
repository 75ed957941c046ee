"""Iterative magnitude pruning: a loop over planned trials, each of which is skipped when it is on disk already."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy.mask import Masks, load_masks, save_masks, sparsity
from lth_deploy.pruning.accounting import prunable_share
from lth_deploy.pruning.allocation import zero_macs
from lth_deploy.pruning.controls import permuted
from lth_deploy.pruning.criteria import CRITERIA
from lth_deploy.pruning.gradual import RaiseSparsity
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.plan import TrialPlan, plan_trials
from lth_deploy.pruning.ranking import Measure, Ranking, ones
from lth_deploy.pruning.restart import course_of
from lth_deploy.pruning.scope import ScopedLayer, layers_of
from lth_deploy.pruning.signals import Signals, SumMovement
from lth_deploy.pruning.structure import STRUCTURES
from lth_deploy.pruning.transfer import Transfer, fit, read_ticket
from lth_deploy.recipe import Recipe
from lth_deploy.ticket import RunDirectory, Trial
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.session import Session
from lth_deploy.training.state import TrainingState

logger = logging.getLogger(__name__)

Scores = dict[str, Any]
"""AP by split and kind, as it is stored in a trial's result."""


@dataclass(frozen=True)
class Search:
    """A ticket search and what it is given from outside.

    build: a fresh detector for a seed, on the CPU; `pretrained` says whether the recipe's weights are loaded.
    score: AP of a trained model. positions: multiply positions by parameter name, measured on the dense model.
    measure: what criteria that depend on data look at, on a model.
    """

    run: RunDirectory
    recipe: Recipe
    device: torch.device
    batches: BatchSource
    total_steps: int
    rewind_step: int
    build: Callable[[int, bool], nn.Module]
    score: Callable[[nn.Module], Scores]
    positions: Callable[[nn.Module], Mapping[str, float]]
    measure: Measure
    deadline: float | None = None

    def check(self) -> None:
        """Refuse before any training what no mask can reach.

        Raises:
            RecipeError: a level is beyond what the prunable layers hold, or the source's ticket prunes other layers.
        DataError: the source is no sound run, or layers of its ticket do not fit.
        UsageError: the source has no ticket of a level.
        """
        model = self.build(self.recipe.training.seed, False)
        for level in self.recipe.pruning.level_list():
            self._share(level, model)
            if self.recipe.source is not None:
                fit(read_ticket(self.recipe.source, level), model, self.scoped(model), self.recipe.source)

    def execute(self) -> None:
        """Run every trial of the plan that is not finished yet.

        Raises:
            StopRequested: the deadline passed; a later call goes on from there.
            TrainingError: a loss or a weight stopped being finite.
        """
        for plan in plan_trials(self.recipe):
            trial = self.run.trial(plan.name)
            if trial.finished:
                logger.info("%s: already finished", plan.name)
                # A kill right after the commit leaves it behind.
                trial.checkpoint.unlink(missing_ok=True)
                continue
            self._execute(plan)

    def _execute(self, plan: TrialPlan) -> None:
        trial = self.run.trial(plan.name)
        masks = self._masks(plan, trial)
        course = course_of(plan, self.recipe, self.total_steps, self.rewind_step, self.state)
        model = self.build(self.recipe.training.seed, False).to(self.device)
        session = Session(self.recipe.training, self.device, model, trial, _tensors(masks))
        if plan.kind == "dense":
            session.keep_state(self.rewind_step, self._keep_rewind)
        moved = self._sum_movement(session)
        rise = self._rise(plan, session, course.steps, masks)
        seconds = session.run(course.start, course.steps, course.rate, self.batches, self.deadline)
        if rise is not None:
            masks = rise.masks
            self._save_masks(trial, masks)
        final = TrainingState.capture(course.steps.stop, model, memory=moved.memory() if moved else None).masked(
            _tensors(masks)
        )
        final.save(trial.weights)
        positions = dict(self.positions(model)) if plan.kind == "dense" else self._positions()
        trial.commit(self._result(plan, model, masks, positions, course.steps, seconds))

    def _result(
        self,
        plan: TrialPlan,
        model: nn.Module,
        masks: Masks,
        positions: dict[str, float],
        steps: range,
        seconds: float,
    ) -> dict[str, Any]:
        began = time.monotonic()
        scores = self.score(model)
        logger.info("%s: evaluated in %.0f s: %s", plan.name, time.monotonic() - began, _headline(scores))
        layers = self.layers(model, positions)
        return {
            "name": plan.name,
            "kind": plan.kind,
            "sparsity": plan.sparsity,
            "parent": plan.parent,
            "steps": [steps.start, steps.stop],
            "seconds": round(seconds, 2),
            "sparsity_prunable": sparsity(masks),
            "zero_macs": zero_macs(layers, masks) if masks else 0.0,
            "positions": positions,
            **scores,
        }

    def _masks(self, plan: TrialPlan, trial: Trial) -> Masks:
        """The mask that a trial begins with: read back if an interrupted call made it, else made now and saved."""
        if plan.kind in ("dense", "dense_control"):
            return {}
        if self._is_gradual(plan):
            return ones(self.layers(self.build(self.recipe.training.seed, False), self._positions()))
        if self.run.is_committed(trial.mask):
            return self._saved_masks(trial)
        if plan.kind != "ticket":
            masks = self._control(plan)
        else:
            masks = self._transferred(plan) if self.recipe.source else self._prune(plan)
        self._save_masks(trial, masks)
        return masks

    def _save_masks(self, trial: Trial, masks: Masks) -> None:
        save_masks(trial.mask, masks)
        self.run.commit([trial.mask])
        logger.info("%s: %.2f %% of the prunable weights are zero", trial.name, 100 * sparsity(masks))

    def _is_gradual(self, plan: TrialPlan) -> bool:
        return plan.kind == "ticket" and self.recipe.pruning.schedule == "cubic"

    def _sum_movement(self, session: Session) -> SumMovement | None:
        """The hook of every training whose weights a movement criterion may rank."""
        if CRITERIA.get(self.recipe.pruning.criterion).signal != "movement":
            return None
        moved = SumMovement(session.model, [layer.name for layer in self.scoped(session.model)])
        session.add(moved)
        return moved

    def _rise(self, plan: TrialPlan, session: Session, steps: range, masks: Masks) -> RaiseSparsity | None:
        """The hook of a gradual ticket, which prunes while it trains."""
        if not self._is_gradual(plan):
            return None
        ranking, cubic = self._ranking(self._positions()), self.recipe.pruning.cubic
        rise = RaiseSparsity(
            cubic,
            steps,
            self._share(plan.sparsity, session.model),
            masks,
            lambda before, target: ranking.masks(session.model, before, target, session.memory()),
            lambda after: session.prune(_tensors(after)),
        )
        session.add(rise)
        return rise

    def _ranking(self, positions: Mapping[str, float], names: Collection[str] | None = None) -> Ranking:
        """How masks are made, over all prunable layers or those called `names`."""

        def layers(model: nn.Module, signals: Signals) -> list[PrunableLayer]:
            return [one for one in self.layers(model, positions, signals) if names is None or one.name in names]

        return Ranking(self.recipe.pruning, self.recipe.training.seed, layers, self.measure)

    def _prune(self, plan: TrialPlan) -> Masks:
        parent = self.run.trial(plan.parent or "dense")
        state = self.state("initial" if self.recipe.pruning.ranked == "initial" else parent.name)
        model = self.build(self.recipe.training.seed, False)
        state.restore(model)
        positions = self._positions()
        saved = self.run.is_committed(parent.mask)
        before = self._saved_masks(parent) if saved else ones(self.layers(model, positions))
        return self._ranking(positions).masks(model, before, self._share(plan.sparsity, model), state.memory)

    def _transferred(self, plan: TrialPlan) -> Masks:
        """The source's masks; layers that it lacks are left whole, or pruned as if they were the whole network."""
        transfer, model = self._transfer(plan.name), self.trained("dense")
        layers = {layer.name: layer for layer in self.layers(model, self._positions())}
        rest = ones([layers[name] for name in transfer.missing])
        if rest and self.recipe.source is not None and self.recipe.source.missing == "direct":
            memory = self.state("dense").memory
            rest = self._ranking(self._positions(), set(rest)).masks(model, rest, plan.sparsity, memory)
        found = {**transfer.masks, **rest}
        return {name: found[name] for name in layers}

    def _transfer(self, trial: str) -> Transfer:
        source = self.recipe.source
        level = next(plan.sparsity for plan in plan_trials(self.recipe) if plan.name == trial)
        if source is None:
            raise ValueError(f"{trial} has no source")  # asked for only where the recipe has one
        model = self.build(self.recipe.training.seed, False)
        return fit(read_ticket(source, level), model, self.scoped(model), source)

    def _share(self, level: float, model: nn.Module) -> float:
        return prunable_share(level, self.recipe.pruning, model, self.scoped(model))

    def _control(self, plan: TrialPlan) -> Masks:
        ticket = self._saved_masks(self.run.trial(plan.parent or ""))
        if plan.kind == "reinit":
            return ticket
        model = self.build(self.recipe.training.seed, False)
        transposed = frozenset(layer.name for layer in self.scoped(model) if layer.transposed)
        return permuted(ticket, STRUCTURES[self.recipe.pruning.structure], transposed, self.recipe.training.seed)

    def _saved_masks(self, trial: Trial) -> Masks:
        self.run.verify(trial.mask)
        return load_masks(trial.mask)

    def scoped(self, model: nn.Module) -> list[ScopedLayer]:
        """The layers of `model` that the recipe lets be pruned."""
        return layers_of(model, self.recipe.pruning)

    def layers(
        self, model: nn.Module, positions: Mapping[str, float], signals: Signals | None = None
    ) -> list[PrunableLayer]:
        """The same layers with their present weights, as the ranking takes them."""
        parameters = dict(model.named_parameters())
        return [
            PrunableLayer(
                layer.name,
                parameters[layer.name].detach().float().cpu().numpy(),
                layer.transposed,
                positions[layer.name],
                (signals or {}).get(layer.name),
            )
            for layer in self.scoped(model)
        ]

    def _positions(self) -> dict[str, float]:
        positions: dict[str, float] = self.run.trial("dense").read_result()["positions"]
        return positions

    def state(self, name: str) -> TrainingState:
        """A starting state by name; see `course_of`."""
        if name == "initial":
            return TrainingState.capture(0, self.build(self.recipe.training.seed, True))
        if name == "reinit":
            # New weights means new everywhere: a pretrained backbone is not loaded again.
            return TrainingState.capture(0, self.build(self.recipe.training.seed + 1, False))
        if name.startswith("source:"):
            start = self.state("initial")
            return replace(start, model={**start.model, **self._transfer(name.removeprefix("source:")).tensors})
        if name == "rewind":
            self.run.verify(self.run.rewind)
            return TrainingState.load(self.run.rewind)
        trial = self.run.trial(name)
        self.run.verify(trial.weights)
        return TrainingState.load(trial.weights)

    def trained(self, name: str) -> nn.Module:
        """The detector that the finished trial `name` ended with, on the CPU."""
        model = self.build(self.recipe.training.seed, False)
        self.state(name).restore(model)
        return model

    def _keep_rewind(self, state: TrainingState) -> None:
        state.save(self.run.rewind)
        self.run.commit([self.run.rewind])


def _tensors(masks: Masks) -> dict[str, Tensor]:
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}


def _headline(scores: Scores) -> str:
    parts = []
    for split in ("val", "test"):
        for kind, metrics in (scores.get(split) or {}).items():
            value = metrics["AP"]
            parts.append(f"{split} {kind} AP {'none' if value is None else f'{100 * value:.1f}'}")
    return ", ".join(parts)
