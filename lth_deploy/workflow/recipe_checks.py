"""What can be said about a recipe before any work starts, once its network is built."""

from lth_deploy.errors import RecipeError
from lth_deploy.recipe import Recipe


def metric_kinds(recipe: Recipe) -> tuple[str, ...]:
    """The AP kinds that a detector is judged by."""
    if recipe.detector.name == "classifier":
        return ("top1",)
    extra = {"mask_rcnn": ("segm",), "keypoint_rcnn": ("keypoints",)}
    return ("bbox", *extra.get(recipe.detector.name, ()))


def check_recipe(recipe: Recipe) -> None:
    """Refuse what would fail only after the dense training, before anything is written.

    Raises:
        RecipeError: a metric that this detector has not, or a pattern that matches no layer.
        UsageError: an unknown criterion.
    """
    from lth_deploy.detectors import build_detector
    from lth_deploy.pruning.criteria import CRITERIA
    from lth_deploy.pruning.scope import layers_of

    kinds, pruning = metric_kinds(recipe), recipe.pruning
    if recipe.selection.metric not in kinds:
        raise RecipeError(
            f"selection.metric: '{recipe.selection.metric}' is no metric of {recipe.detector.name}; "
            f"choose {' or '.join(kinds)}"
        )
    CRITERIA.get(pruning.criterion)
    model = build_detector(recipe.detector, 1, 1, load_weights=False)
    layers_of(model, pruning)
