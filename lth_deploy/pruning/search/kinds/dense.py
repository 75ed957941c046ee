"""The dense training, which everything else starts from, and the dense control of tickets that train longer."""

from functools import partial

from torch import nn

from lth_deploy.pruning.ranking.permute import reordered, similarity_order
from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.pruning.search.early_masks import RecordEarlyMasks
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.kinds.training import TrialTraining, train_masked
from lth_deploy.pruning.search.plan import TrialPlan
from lth_deploy.run.directory import RunDirectory
from lth_deploy.structures import BLOCKS
from lth_deploy.training.state import TrainingState


def run_dense(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Train the network without masks; keep the state to rewind to, and early masks where the recipe records them."""
    training = TrialTraining(context, plan, {})
    training.session.keep_state(context.rewind_step, partial(_commit_rewind_state, context.run))
    early = _record_early_masks(context, training)
    training.sum_movement()
    seconds = training.run()
    if early is not None:
        context.run.commit(early.finish())
    model, state = training.session.model, training.final_state({})
    if context.recipe.pruning.permute == "similarity":
        state = _permuted(context, state, model)
    return Outcome(model, {}, state, training.segment.steps, seconds, dict(context.positions(model)))


def run_dense_control(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Train the network without masks for as many steps as a ticket has."""
    return train_masked(context, plan, {})


def _commit_rewind_state(run: RunDirectory, state: TrainingState) -> None:
    state.save(run.rewind)
    run.commit([run.rewind])


def _record_early_masks(context: SearchContext, training: TrialTraining) -> RecordEarlyMasks | None:
    """The hook that ranks the weights while they train, if the recipe asks for it."""
    early, levels = context.recipe.pruning.early_masks, context.recipe.pruning.level_list()
    if early is None:
        return None
    session = training.session
    files, steps = EarlyFiles(session.trial), training.segment.steps
    record = RecordEarlyMasks(files, session.model, steps, early.every, levels, context.masks.of_weights)
    session.add(record)
    return record


def _permuted(context: SearchContext, final: TrainingState, model: nn.Module) -> TrainingState:
    """The dense state with similar channels together; the state to rewind to follows, in a file of its own.

    All later trials start from these two, so that nothing else needs to know the order.
    """
    block, run = BLOCKS[context.recipe.pruning.structure], context.run
    image = context.batches.batch(0)[0][0].to(context.device)
    order = similarity_order(model, [image], block.inputs)
    run.verify(run.rewind)
    reordered(TrainingState.load(run.rewind), order).save(run.permuted_rewind)
    run.commit([run.permuted_rewind])
    return reordered(final, order)
