"""What can be said about a recipe before any work starts, once its network is built."""

from lth_deploy.config.recipe import Recipe
from lth_deploy.errors import RecipeError


def metric_kinds(recipe: Recipe) -> tuple[str, ...]:
    """The AP kinds that a detector is judged by."""
    if recipe.detector.name == "classifier":
        return ("top1",)
    extra = {"mask_rcnn": ("segm",), "keypoint_rcnn": ("keypoints",)}
    return ("bbox", *extra.get(recipe.detector.name, ()))


def check_recipe(recipe: Recipe) -> None:
    """Refuse what would fail only after the dense training, before anything is written.

    Raises:
        RecipeError: a metric that this detector has not, a pattern without a layer, scores that cannot be squared, a
            criterion that this detector has not, or a level beyond what may be pruned.
        UsageError: an unknown criterion.
    """
    from lth_deploy.detectors import build_detector
    from lth_deploy.detectors.sources import source_of
    from lth_deploy.pruning.ranking.criteria import CRITERIA
    from lth_deploy.pruning.ranking.reachable import check_levels
    from lth_deploy.pruning.scope import layers_of, quantized_layers

    source_of(recipe.detector)  # a source that builds nothing says so before anything else is held against it
    kinds, pruning = metric_kinds(recipe), recipe.pruning
    if recipe.selection.metric not in kinds:
        raise RecipeError(
            f"selection.metric: '{recipe.selection.metric}' is no metric of {recipe.detector.name}; "
            f"choose {' or '.join(kinds)}"
        )
    criterion = CRITERIA.get(pruning.criterion)
    if pruning.block_score == "l2" and criterion.signed:
        raise RecipeError(
            f"pruning.block_score: 'l2' squares the scores of criterion '{pruning.criterion}', which may be negative; "
            "choose auto, l1 or max"
        )
    if criterion.signal == "flow" and recipe.detector.source != "torchvision":
        raise RecipeError(
            f"pruning.criterion '{pruning.criterion}' passes through the parts of torchvision's detectors, and this "
            f"one is of source '{recipe.detector.source}'; choose another criterion"
        )
    model = build_detector(recipe.detector, 1, 1, load_weights=False)
    layers = layers_of(model, pruning)
    if pruning.share_of == "prunable" and "predictor" not in pruning.groups:
        check_levels(recipe, model, layers)  # others depend on the classes, and wait for the data
    if recipe.quantization.levels and not quantized_layers(model, recipe.quantization.float_layers):
        raise RecipeError("quantization.float_layers leaves no layer to quantize; shorten it")
