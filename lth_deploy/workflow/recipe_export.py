"""A recipe for SparseML: the names of the layers that it prunes are those of the network that it builds."""

from pathlib import Path

from lth_deploy.config.recipe import load_recipe
from lth_deploy.config.sparseml.writing import Written, write_recipe
from lth_deploy.workflow.require_extra import require_torch


def recipe_for_sparseml(file: Path, steps_per_epoch: int | None = None) -> Written:
    """The recipe at `file` as one that SparseML 1.8 loads.

    Raises:
        RecipeError: the recipe is faulty, or its pruning has no counterpart.
    """
    recipe = load_recipe(file, check_variables=False)
    require_torch("listing the layers of a detector")
    from lth_deploy.detectors import build_detector
    from lth_deploy.pruning.scope import layers_of

    layers = layers_of(build_detector(recipe.detector, 1, 1, load_weights=False), recipe.pruning)
    return write_recipe(recipe, [layer.name for layer in layers], steps_per_epoch)
