"""Sharing a dense training between searches: it depends on detector, data and training only."""

import logging
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.search_spec import PruningSpec
from lth_deploy.errors import UsageError
from lth_deploy.pruning.search.early_files import EarlyFiles
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.run.remote.look import run_at

logger = logging.getLogger(__name__)


_FILES = ("rewind.safetensors", "rewind_permuted.safetensors", "trials/dense/*", "trials/dense/early/*")
"""What is taken of a run."""


def adopt_dense(run: RunDirectory, source: Path | str) -> None:
    """Copy the finished dense trial and the rewind state of the run at the path or URL `source` into the new run `run`.

    Raises:
        DataError: `source` is no run, or its files have changed.
        StorageError: the place refuses.
        UsageError: its dense training is not finished, or another recipe made it.
    """
    with run_at(str(source), _FILES) as folder:
        _adopt(run, RunDirectory.open(folder), str(source))


def _adopt(run: RunDirectory, other: RunDirectory, source: str) -> None:
    _require_same(run.recipe(), other.recipe(), source)
    theirs, ours = other.trial("dense"), run.trial("dense")
    if not theirs.finished:
        raise UsageError(f"--dense-from {source}: its dense training is not finished; go on with it first")
    if _scope(run.recipe().pruning) != _scope(other.recipe().pruning):
        _require_positions(run.recipe(), theirs, source)
    pairs = [
        (other.rewind, run.rewind),
        (theirs.weights, ours.weights),
        (theirs.metrics, ours.metrics),
        (theirs.result, ours.result),
    ]
    if run.recipe().pruning.permute != "none":
        pairs.append((other.permuted_rewind, run.permuted_rewind))
    if run.recipe().pruning.early_masks is not None:
        pairs += _early_files(EarlyFiles(theirs), EarlyFiles(ours))
    for original, _ in pairs:
        other.verify(original)
    for original, copy in pairs:
        storage.write_bytes(copy, original.read_bytes())
        # What is copied must be what was checked, also while another process works on the source.
        other.verify(original, copy=copy)
    run.commit([copy for _, copy in pairs])
    logger.info("dense: taken from %s", source)


def _early_files(theirs: EarlyFiles, ours: EarlyFiles) -> list[tuple[Path, Path]]:
    copies = [ours.trial.path / file.relative_to(theirs.trial.path) for file in theirs.masks()]
    return [(theirs.lines, ours.lines), *zip(theirs.masks(), copies, strict=True)]


def dense_key(recipe: Recipe) -> str:
    """Equal for recipes whose dense trainings are the same, so that one can serve all of them."""
    return repr(_inputs(recipe))


def _require_same(ours: Recipe, theirs: Recipe, source: str) -> None:
    """Everything that the dense trial and its rewind state depend on."""
    own_inputs = _inputs(ours)
    for key, value in _inputs(theirs).items():
        if own_inputs[key] != value:
            raise UsageError(
                f"--dense-from {source}: its recipe has another '{key}'; train a dense control of your own"
            )


def _inputs(recipe: Recipe) -> dict[str, object]:
    from lth_deploy.pruning.ranking.criteria import CRITERIA

    pruning = recipe.pruning
    remembers = CRITERIA.get(pruning.criterion).signal == "movement"
    return {
        "detector": recipe.detector,
        "data": recipe.data,
        # How often a checkpoint is written leaves no mark on what is trained.
        "training": recipe.training.model_copy(update={"checkpoint_seconds": 1.0, "workers": 0}),
        "pruning.rewind": pruning.rewind,
        "pruning.permute": (pruning.permute, pruning.structure if pruning.permute != "none" else ""),
        # The movement of its weights is summed only where a criterion asks for it.
        "pruning.criterion": "movement" if remembers else None,
        "pruning.scope": _scope(pruning) if remembers else None,
        "pruning.early_masks": _early_inputs(pruning),
    }


def _scope(pruning: PruningSpec) -> object:
    return (pruning.scope, pruning.include, pruning.exclude, pruning.groups)


def _require_positions(recipe: Recipe, dense: Trial, source: str) -> None:
    """Runs of earlier versions counted the multiplications of the layers that they pruned, and of no others."""
    from lth_deploy.detectors import build_detector
    from lth_deploy.pruning.scope import layers_of

    wanted = {
        layer.name for layer in layers_of(build_detector(recipe.detector, 1, 1, load_weights=False), recipe.pruning)
    }
    missing = sorted(wanted - dense.read_result().positions.keys())
    if missing:
        raise UsageError(
            f"--dense-from {source}: its recipe prunes other layers, and how often {missing[0]} is multiplied was not "
            "counted; train a dense control of your own"
        )


def _early_inputs(pruning: PruningSpec) -> object:
    """Everything that early masks depend on, but for which of them a ticket takes."""
    if pruning.early_masks is None:
        return None
    ranking = (pruning.criterion, pruning.allocation, pruning.structure, pruning.block_score, pruning.share_of)
    return (pruning.early_masks.every, pruning.level_list(), ranking, _scope(pruning))
