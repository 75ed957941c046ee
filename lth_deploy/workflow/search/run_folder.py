"""The run directory of a search: opened for one process, with its log, and left away when the recipe is refused."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import LthError, UsageError
from lth_deploy.run.directory import RunDirectory, require_no_other_files, versions

logger = logging.getLogger(__name__)


@contextmanager
def opened_run(recipe: Recipe, out: Path, resume: bool) -> Iterator[tuple[RunDirectory, bool]]:
    """Hold the run of `recipe` in `out` and copy log lines into it; says too whether the run is a new one.

    Raises:
        UsageError: `out` holds something else, a run of another recipe, or one that `resume` does not ask for.
        StorageError: the disk refuses, or another process works on `out`.
    """
    with storage.locked(out, lambda: _look(recipe, out, resume)), ExitStack() as logged:
        storage.remove_stale_temporaries(out)
        run, new = _open(recipe, out, resume)
        logged.enter_context(_logged_to(run.log))
        yield run, new


def _look(recipe: Recipe, out: Path, resume: bool) -> RunDirectory | None:
    """The run in `out`; None where a new one can begin. Nothing is written."""
    if not (out / "manifest.json").exists():
        require_no_other_files(out, recipe)
        return None
    if not resume:
        raise UsageError(f"{out} holds a run already; go on with --resume, or choose another --out")
    run = RunDirectory.open(out)
    if run.manifest()["recipe_digest"] != recipe.digest():
        raise UsageError(f"{out} was made with another recipe; its own is {run.recipe_file}")
    return run


def _open(recipe: Recipe, out: Path, resume: bool) -> tuple[RunDirectory, bool]:
    """The run in `out`, which the caller has locked, and whether it is a new one."""
    run = _look(recipe, out, resume)
    if run is None:
        return RunDirectory.create(out, recipe), True
    if run.manifest()["versions"] != versions():
        logger.warning(
            "package versions differ from those that %s began with; results may differ in the last bits", out
        )
    return run, False


@contextmanager
def discarded_when_refused(run: RunDirectory) -> Iterator[None]:
    """Leave no new run behind that the corrected recipe would be refused for."""
    try:
        yield
    except LthError:
        run.discard()
        raise


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Copy this package's log lines into the run directory."""
    with storage.disk_errors(f"cannot write {path}"):
        stream = storage.open_to_append(path)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("lth_deploy")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()
        stream.close()
