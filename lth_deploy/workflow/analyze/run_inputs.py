"""What `analyze` reads of a run: trials, split and data, checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import UsageError
from lth_deploy.mask import Masks, load_masks
from lth_deploy.registry import did_you_mean
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.workflow.analyze.compare_trials import require_objects

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset


@dataclass(frozen=True)
class OpenedRun:
    """A run, and which of its trials and which split are analyzed.

    whole: whether `dataset` is its split in full, so that the figures must be those that the search recorded.
    control: the dense trial that the others are compared with; None where it is not finished.
    """

    name: str
    run: RunDirectory
    recipe: Recipe
    trials: list[Trial]
    results: dict[str, TrialResult]
    masks: dict[str, Masks]
    split: str
    dataset: "CocoDataset"
    train: "CocoDataset"
    whole: bool
    control: str | None

    @property
    def reordered(self) -> bool:
        """Whether its channels were put in an order of their own."""
        return self.recipe.pruning.permute != "none"


def open_run(path: Path, name: str, split: str | None, names: Sequence[str], limit: int | None) -> OpenedRun:
    """The run at `path`, called `name` in results.

    split: None for test, or val where there is no test. names: the trials beside the control; () for all that are
    finished. limit: only the first so many images.

    Raises:
        DataError: this is no run, its files or its data are faulty, or the split has no objects.
        UsageError: there is no such split, or no such finished trial.
    """
    from lth_deploy.pruning.search.plan import control_of
    from lth_deploy.workflow.search.splits import load_splits

    run = RunDirectory.open(path)
    recipe = run.recipe()
    control = control_of(recipe)
    trials = _finished(run, names, control)
    splits = load_splits(recipe, run.path)
    chosen = split or ("test" if "test" in splits else "val")
    if chosen not in splits:
        raise UsageError(f"--split {chosen}: {path} has no such split{did_you_mean(chosen, splits)}")
    dataset = splits[chosen] if limit is None else splits[chosen].subset(limit)
    require_objects(dataset, f"split '{chosen}' of {path}")
    return OpenedRun(
        name,
        run,
        recipe,
        trials,
        {trial.name: trial.read_result() for trial in trials},
        {trial.name: _masks(trial) for trial in trials if run.is_committed(trial.mask)},
        chosen,
        dataset,
        splits["train"],
        limit is None,
        control if any(trial.name == control for trial in trials) else None,
    )


def _finished(run: RunDirectory, names: Sequence[str], control: str) -> list[Trial]:
    finished = {trial.name: trial for trial in run.finished_trials()}
    if not finished:
        raise UsageError(f"{run.path} has no finished trial yet; go on with: lth-deploy find-ticket ... --resume")
    for name in names:
        if name not in finished:
            raise UsageError(f"--trial {name}: {run.path} has no such finished trial{did_you_mean(name, finished)}")
    return [trial for name, trial in finished.items() if not names or name in names or name == control]


def _masks(trial: Trial) -> Masks:
    trial.run.verify(trial.mask)
    return load_masks(trial.mask)
