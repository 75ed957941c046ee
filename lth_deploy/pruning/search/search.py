"""Iterative magnitude pruning: a loop over planned trials, each of which is skipped when it is on disk already."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lth_deploy.config.recipe import Recipe
from lth_deploy.documents import Metrics
from lth_deploy.errors import RecipeError
from lth_deploy.mask import Masks, sparsity
from lth_deploy.progress import progress
from lth_deploy.pruning.ranking.allocation import zero_macs
from lth_deploy.pruning.ranking.criteria import CRITERIA
from lth_deploy.pruning.ranking.permute import reordered, similarity_order
from lth_deploy.pruning.ranking.rank import Measure
from lth_deploy.pruning.ranking.reachable import check_levels
from lth_deploy.pruning.ranking.signals import SumMovement
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.pruning.search.early_masks import RecordEarlyMasks
from lth_deploy.pruning.search.gradual import RaiseSparsity
from lth_deploy.pruning.search.plan import TrialPlan, plan_trials
from lth_deploy.pruning.search.post_training import reconstruct
from lth_deploy.pruning.search.quantized import quantized_start
from lth_deploy.pruning.search.restart import Course, course_of
from lth_deploy.pruning.search.transfer import fit, read_ticket
from lth_deploy.pruning.search.trial_masks import TrialMasks, is_gradual
from lth_deploy.pruning.search.trials import Trials
from lth_deploy.run.directory import RunDirectory, truncate_metrics
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.structures import STRUCTURES, Block
from lth_deploy.training.hardware import hardware_of
from lth_deploy.training.hooks import Hook
from lth_deploy.training.loop import BatchSource
from lth_deploy.training.session import Session
from lth_deploy.training.state import TrainingState

logger = logging.getLogger(__name__)

Scores = dict[str, Metrics]
"""AP by split, kind and metric, as it is stored in a trial's result."""


@dataclass(frozen=True)
class Search:
    """A ticket search and what it is given from outside.

    build: a fresh detector for a seed, on the CPU; `pretrained` says whether the recipe's weights are loaded.
    score: AP of a trained model. positions: multiply positions by parameter name, measured on the dense model.
    measure: what criteria that depend on data look at, on a model. quantization_steps: length of a fine-tuning with
    fake quantization.
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
    quantization_steps: int = 1

    @property
    def trials(self) -> Trials:
        """The trials as models, states and masks."""
        return Trials(self.run, self.recipe, self.build)

    @property
    def masks(self) -> TrialMasks:
        """Makes the trials' masks."""
        return TrialMasks(self.trials, self.measure, self.positions)

    def check(self) -> None:
        """Refuse before any training what no mask can reach.

        Raises:
            RecipeError: a level is beyond what the prunable layers hold, or the source's ticket prunes other layers.
            DataError: the source is no sound run, or layers of its ticket do not fit.
            UsageError: the source has no ticket of a level.
        """
        model, source, early = self.trials.fresh(), self.recipe.source, self.recipe.pruning.early_masks
        if early is not None and (early.take or early.every) > self.total_steps:
            raise RecipeError(
                f"pruning.early_masks: step {early.take or early.every} is after the end of the training, step "
                f"{self.total_steps}; lower it"
            )
        if source is not None:
            for level in self.recipe.pruning.level_list():
                fit(read_ticket(source, level), model, self.trials.scoped(model), source)
        check_levels(self.recipe, model, self.trials.scoped(model), lambda one: self.positions(one.to(self.device)))

    def execute(self) -> None:
        """Run every trial of the plan that is not finished yet.

        Raises:
            StopRequested: the deadline passed; a later call goes on from there.
            TrainingError: a loss or a weight stopped being finite.
        """
        plans = plan_trials(self.recipe)
        with progress("trials", total=len(plans)) as step:
            for plan in plans:
                trial = self.run.trial(plan.name)
                if trial.finished:
                    logger.info("%s: already finished", plan.name)
                    # A kill right after the commit leaves it behind.
                    trial.checkpoint.unlink(missing_ok=True)
                else:
                    self._execute(plan)
                step()

    def _execute(self, plan: TrialPlan) -> None:
        trial = self.run.trial(plan.name)
        if self._is_reconstructed(plan):
            self._reconstruct(plan)
            return
        masks = self.masks.begin(plan)
        model, course, hooks = self._start(plan)
        session = Session(self.recipe.training, self.device, model, trial, self.trials.held(masks))
        for hook in hooks:
            session.add(hook)
        if plan.kind == "dense":
            session.keep_state(self.rewind_step, self._keep_rewind)
        early = self._record_early_masks(plan, session, course.steps)
        moved = self._sum_movement(plan, session)
        rise = self._rise(plan, session, course.steps, masks)
        seconds = session.run(course.start, course.steps, course.rate, self.batches, self.deadline)
        if rise is not None:
            masks = rise.masks
            self.masks.save(trial, masks)
        if early is not None:
            self.run.commit(early.finish())
        memory = moved.memory() if moved else None
        final = TrainingState.capture(course.steps.stop, model, memory=memory).masked(self.trials.held(masks))
        if plan.kind == "dense" and self.recipe.pruning.permute == "similarity":
            final = self._permuted(final, model)
        final.save(trial.weights)
        positions = dict(self.positions(model)) if plan.kind == "dense" else self.trials.positions()
        trial.commit(self._result(plan, model, masks, positions, course.steps, seconds))

    def _is_reconstructed(self, plan: TrialPlan) -> bool:
        return plan.kind == "ticket" and self.recipe.pruning.schedule == "post_training"

    def _reconstruct(self, plan: TrialPlan) -> None:
        """A ticket without training: the dense weights, pruned and solved for."""
        began, trial, pruning = time.monotonic(), self.run.trial(plan.name), self.recipe.pruning
        dense = self.trials.trained("dense").to(self.device)
        layers, images = self.trials.scoped(dense), self._images(pruning.calibration_images)
        share = self.trials.share(plan.sparsity, dense)
        model, masks = reconstruct(dense, layers, images, share, pruning.structure)
        self.masks.save(trial, masks)
        truncate_metrics(trial.metrics, 0)  # there are none, but a trial has the file
        TrainingState.capture(self.total_steps, model).masked(self.trials.held(masks)).save(trial.weights)
        steps, seconds = range(self.total_steps, self.total_steps), time.monotonic() - began
        trial.commit(self._result(plan, model, masks, self.trials.positions(), steps, seconds))

    def _images(self, count: int) -> list[Tensor]:
        """The images of the first batches of the training, as it sees them."""
        images: list[Tensor] = []
        step = 0
        while len(images) < count:
            images += [image.to(self.device) for image in self.batches.batch(step)[0]]
            step += 1
        return images[:count]

    def _permuted(self, final: TrainingState, model: nn.Module) -> TrainingState:
        """The dense state with like channels together; the state to rewind to follows, in a file of its own.

        All later trials start from these two, so that nothing else needs to know of the order.
        """
        structure = STRUCTURES[self.recipe.pruning.structure]
        if not isinstance(structure, Block):
            raise ValueError("groups of N:M are not permuted")  # recipes that ask for it are refused
        image = self.batches.batch(0)[0][0].to(self.device)
        order = similarity_order(model, [image], structure.inputs)
        self.run.verify(self.run.rewind)
        reordered(TrainingState.load(self.run.rewind), order).save(self.run.permuted_rewind)
        self.run.commit([self.run.permuted_rewind])
        return reordered(final, order)

    def _start(self, plan: TrialPlan) -> tuple[nn.Module, Course, list[Hook]]:
        """The model of a trial on its device, where its training goes, and who takes part in it."""
        if plan.kind == "int8":
            trained, recipe = self.trials.trained(plan.parent or ""), self.recipe
            start = quantized_start(
                trained, recipe, self.device, self.batches, self.total_steps, self.quantization_steps
            )
            return start.model, start.course, [start.freeze]
        course = course_of(plan, self.recipe, self.total_steps, self.rewind_step, self.trials.state)
        return self.trials.fresh().to(self.device), course, []

    def _result(
        self,
        plan: TrialPlan,
        model: nn.Module,
        masks: Masks,
        positions: dict[str, float],
        steps: range,
        seconds: float,
    ) -> TrialResult:
        began = time.monotonic()
        scores = self.score(model)
        logger.info("%s: evaluated in %.0f s: %s", plan.name, time.monotonic() - began, _headline(scores))
        layers = self.trials.layers(model, positions)
        return TrialResult(
            name=plan.name,
            kind=plan.kind,
            sparsity=plan.sparsity,
            parent=plan.parent,
            steps=(steps.start, steps.stop),
            seconds=round(seconds, 2),
            hardware=hardware_of(self.device),
            sparsity_prunable=sparsity(masks),
            zero_macs=zero_macs(layers, masks) if masks else 0.0,
            positions=positions,
            **scores,
        )

    def _sum_movement(self, plan: TrialPlan, session: Session) -> SumMovement | None:
        """The hook of every training whose weights a movement criterion may rank."""
        if plan.kind == "int8" or CRITERIA.get(self.recipe.pruning.criterion).signal != "movement":
            return None
        moved = SumMovement(session.model, [layer.name for layer in self.trials.scoped(session.model)])
        session.add(moved)
        return moved

    def _record_early_masks(self, plan: TrialPlan, session: Session, steps: range) -> RecordEarlyMasks | None:
        """The hook of a dense training whose masks are looked at while it goes on."""
        early, levels = self.recipe.pruning.early_masks, self.recipe.pruning.level_list()
        if plan.kind != "dense" or early is None:
            return None
        files = EarlyFiles(session.trial)
        record = RecordEarlyMasks(files, session.model, steps, early.every, levels, self.masks.of_weights)
        session.add(record)
        return record

    def _rise(self, plan: TrialPlan, session: Session, steps: range, masks: Masks) -> RaiseSparsity | None:
        """The hook of a gradual ticket, which prunes while it trains."""
        if not is_gradual(plan, self.trials):
            return None
        ranking = self.masks.ranking()
        rise = RaiseSparsity(
            self.recipe.pruning.cubic,
            steps,
            self.trials.share(plan.sparsity, session.model),
            masks,
            lambda before, target: ranking.masks(session.model, before, target, session.memory()),
            lambda after: session.prune(self.trials.held(after)),
        )
        session.add(rise)
        return rise

    def _keep_rewind(self, state: TrainingState) -> None:
        state.save(self.run.rewind)
        self.run.commit([self.run.rewind])


def _headline(scores: Scores) -> str:
    parts = []
    for split in ("val", "test"):
        for kind, metrics in (scores.get(split) or {}).items():
            value = metrics["AP"]
            parts.append(f"{split} {kind} AP {'none' if value is None else f'{100 * value:.1f}'}")
    return ", ".join(parts)
