"""Tickets: pruned before their training, or gradually during it."""

from collections.abc import Mapping

from lth_deploy.mask import Masks, load_masks
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.rank import ones
from lth_deploy.pruning.search.context import SearchContext
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.pruning.search.gradual import RaiseSparsity, rise_of
from lth_deploy.pruning.search.kinds.kind import Outcome
from lth_deploy.pruning.search.kinds.training import TrialTraining, report_masks, train_masked
from lth_deploy.pruning.search.plan import TrialPlan


def run_ticket(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Make the ticket's masks, then train under them."""
    source, early = context.recipe.source, context.recipe.pruning.early_masks

    def make() -> Masks:
        if source is not None:
            return _transferred(context, plan)
        if early is not None and early.take is not None:
            return _early(context, plan, early.take)
        return _pruned(context, plan)

    return train_masked(context, plan, context.masks.read_or_make(plan.name, make))


def run_gradual_ticket(context: SearchContext, plan: TrialPlan) -> Outcome:
    """Train from dense weights, and prune more of them as the training goes on; see `rise_of`."""
    trials, pruning = context.trials, context.recipe.pruning
    masks = ones(trials.layers(trials.fresh(), trials.positions()))
    training = TrialTraining(context, plan, masks)
    session, ranking, start = training.session, context.masks.ranking(), training.segment.start
    training.sum_movement()
    rewinds = pruning.schedule == "progressive" and pruning.progressive.rewind

    def prune(after: Masks) -> None:
        held = trials.training_masks(after)
        session.prune(held)
        report_masks(context, plan.name, rise.step, held)

    rise = RaiseSparsity(
        rise_of(pruning, training.segment.steps, trials.share(plan.sparsity, session.model)),
        masks,
        lambda before, target: ranking.masks(session.model, before, target, session.memory()),
        prune,
        (lambda: session.rewind(start)) if rewinds else (lambda: None),
    )
    session.add(rise)
    seconds = training.run()
    context.masks.save(session.trial, rise.masks)
    return Outcome(session.model, rise.masks, training.final_state(rise.masks), training.segment.steps, seconds)


def _early(context: SearchContext, plan: TrialPlan, step: int) -> Masks:
    """The masks that the dense network had after `step` steps."""
    file = EarlyFiles(context.run.trial("dense")).mask(step, plan.sparsity)
    context.run.verify(file)
    return load_masks(file)


def _pruned(context: SearchContext, plan: TrialPlan) -> Masks:
    """The masks after the weights of the parent are ranked."""
    trials, parent = context.trials, context.run.trial(plan.parent or "dense")
    state = trials.state("initial" if context.recipe.pruning.ranked == "initial" else parent.name)
    model = trials.fresh()
    state.restore(model)
    has_masks = context.run.is_committed(parent.mask)
    before = trials.masks(parent) if has_masks else ones(trials.layers(model, trials.positions()))
    return context.masks.ranking().masks(model, before, trials.share(plan.sparsity, model), state.memory)


def _transferred(context: SearchContext, plan: TrialPlan) -> Masks:
    """The source's masks; layers that it lacks stay dense, or are pruned as if they were the whole network."""
    trials, source = context.trials, context.recipe.source
    transfer, model = trials.transfer(plan.name), trials.trained("dense")
    layers: Mapping[str, PrunableLayer] = {layer.name: layer for layer in trials.layers(model, trials.positions())}
    missing = ones([layers[name] for name in transfer.missing])
    if missing and source is not None and source.missing == "direct":
        ranking = context.masks.ranking(set(missing))
        missing = ranking.masks(model, missing, plan.sparsity, trials.state("dense").memory)
    found = {**transfer.masks, **missing}
    return {name: found[name] for name in layers}
