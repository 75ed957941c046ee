"""Where a search reports its figures: one file and one line of this table for each kind."""

from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from lth_deploy.config.tracking_spec import TrackingSpec
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean
from lth_deploy.run.callbacks import Callback, Callbacks

GROUP = "lth_deploy.callbacks"
TRACKERS = {
    "tensorboard": "lth_deploy.workflow.tracking.tensorboard",
    "mlflow": "lth_deploy.workflow.tracking.mlflow",
}
"""Keys of the recipe's section; each module has a function `tracker(spec, run)`."""


def callbacks_of(spec: TrackingSpec, run: Path, given: Sequence[Callback] = ()) -> Callbacks:
    """The callbacks that a recipe names, and those that a program gave.

    Raises:
        MissingExtraError: a tracker's package is not installed.
        RecipeError: no installed package has a callback of that name.
    """
    made = [
        import_module(module).tracker(section, run)
        for name, module in TRACKERS.items()
        if (section := getattr(spec, name)) is not None
    ]
    points = {point.name: point for point in metadata.entry_points(group=GROUP)}
    for name in spec.callbacks:
        if name not in points:
            known = did_you_mean(name, points) if points else "; no installed package has any"
            raise RecipeError(f"tracking.callbacks: no callback is called '{name}'{known}")
        made.append(points[name].load()())
    return Callbacks([*made, *given])
