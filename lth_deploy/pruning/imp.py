"""Iterative magnitude pruning: a loop over planned trials, each of which is skipped when it is on disk already."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lth_deploy.mask import Masks, load_masks, save_masks, sparsity
from lth_deploy.pruning.allocation import PrunableLayer, prune, zero_macs
from lth_deploy.pruning.controls import permuted
from lth_deploy.pruning.criteria import CRITERIA
from lth_deploy.pruning.permute import reordered, similarity_order
from lth_deploy.pruning.plan import TrialPlan, plan_trials
from lth_deploy.pruning.quantized import quantized_start
from lth_deploy.pruning.restart import Course, course_of
from lth_deploy.pruning.scope import ScopedLayer, scoped_layers
from lth_deploy.pruning.structure import STRUCTURES
from lth_deploy.recipe import Recipe
from lth_deploy.ticket import RunDirectory, Trial
from lth_deploy.training.hooks import Hook
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.quantization import restored
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
    quantization_steps: length of a fine-tuning with fake quantisation.
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
    deadline: float | None = None
    quantization_steps: int = 1

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
        model, course, hooks = self._start(plan)
        session = Session(self.recipe.training, self.device, model, trial, _tensors(masks))
        for hook in hooks:
            session.add(hook)
        if plan.kind == "dense":
            session.keep_state(self.rewind_step, self._keep_rewind)
        seconds = session.run(course.start, course.steps, course.rate, self.batches, self.deadline)
        final = TrainingState.capture(course.steps.stop, model).masked(_tensors(masks))
        if plan.kind == "dense" and self.recipe.pruning.permute == "similarity":
            final = self._permuted(final, model)
        final.save(trial.weights)
        positions = dict(self.positions(model)) if plan.kind == "dense" else self._positions()
        trial.commit(self._result(plan, model, masks, positions, course.steps, seconds))

    def _permuted(self, final: TrainingState, model: nn.Module) -> TrainingState:
        """The dense state with like channels together; the state to rewind to follows, in a file of its own.

        All later trials start from these two, so that nothing else needs to know of the order.
        """
        image = self.batches.batch(0)[0][0].to(self.device)
        order = similarity_order(model, [image], STRUCTURES[self.recipe.pruning.structure].inputs)
        reordered(TrainingState.load(self.run.rewind), order).save(self.run.permuted_rewind)
        self.run.commit([self.run.permuted_rewind])
        return reordered(final, order)

    def _start(self, plan: TrialPlan) -> tuple[nn.Module, Course, list[Hook]]:
        """The model of a trial on its device, where its training goes, and who takes part in it."""
        if plan.kind == "int8":
            trained, recipe = self.trained(plan.parent or ""), self.recipe
            start = quantized_start(
                trained, recipe, self.device, self.batches, self.total_steps, self.quantization_steps
            )
            return start.model, start.course, [start.freeze]
        course = course_of(plan, self.recipe, self.total_steps, self.rewind_step, self.state)
        return self.build(self.recipe.training.seed, False).to(self.device), course, []

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
        """The trial's mask: read back if an interrupted call made it, else made now and saved."""
        if plan.kind in ("dense", "dense_control"):
            return {}
        if self.run.is_committed(trial.mask):
            return self._saved_masks(trial)
        if plan.kind == "int8" and not self.run.is_committed(self.run.trial(plan.parent or "").mask):
            return {}
        masks = self._prune(plan) if plan.kind == "ticket" else self._control(plan)
        save_masks(trial.mask, masks)
        self.run.commit([trial.mask])
        logger.info("%s: %.2f %% of the prunable weights are zero", plan.name, 100 * sparsity(masks))
        for name in (name for name, mask in masks.items() if not mask.any()):
            logger.warning("%s: nothing is left of %s; what comes after it cannot see the image there", plan.name, name)
        return masks

    def _prune(self, plan: TrialPlan) -> Masks:
        pruning = self.recipe.pruning
        parent = self.run.trial(plan.parent or "dense")
        layers = self.layers(self.trained(parent.name), self._positions())
        if self.run.is_committed(parent.mask):
            masks = self._saved_masks(parent)
        else:
            masks = {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in layers}
        return prune(
            layers,
            masks,
            plan.sparsity,
            CRITERIA.get(pruning.criterion),
            pruning.allocation,
            STRUCTURES[pruning.structure],
            pruning.block_score,
        )

    def _control(self, plan: TrialPlan) -> Masks:
        ticket = self._saved_masks(self.run.trial(plan.parent or ""))
        if plan.kind in ("reinit", "int8"):
            return ticket
        model = self.build(self.recipe.training.seed, False)
        transposed = frozenset(layer.name for layer in self.scoped(model) if layer.transposed)
        return permuted(ticket, STRUCTURES[self.recipe.pruning.structure], transposed, self.recipe.training.seed)

    def _saved_masks(self, trial: Trial) -> Masks:
        self.run.verify(trial.mask)
        return load_masks(trial.mask)

    def scoped(self, model: nn.Module) -> list[ScopedLayer]:
        """The layers of `model` that the recipe lets be pruned."""
        pruning = self.recipe.pruning
        return scoped_layers(model, pruning.scope, pruning.include, pruning.exclude)

    def layers(self, model: nn.Module, positions: Mapping[str, float]) -> list[PrunableLayer]:
        """The same layers with their present weights, as the ranking takes them."""
        parameters = dict(model.named_parameters())
        return [
            PrunableLayer(
                layer.name,
                parameters[layer.name].detach().float().cpu().numpy(),
                layer.transposed,
                positions[layer.name],
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
        if name == "rewind":
            permuted = self.recipe.pruning.permute == "similarity"
            file = self.run.permuted_rewind if permuted else self.run.rewind
            self.run.verify(file)
            return TrainingState.load(file)
        trial = self.run.trial(name)
        self.run.verify(trial.weights)
        return TrainingState.load(trial.weights)

    def trained(self, name: str) -> nn.Module:
        """The detector that the finished trial `name` ended with, on the CPU."""
        return restored(self.build(self.recipe.training.seed, False), self.state(name))

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
