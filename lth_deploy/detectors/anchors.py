"""Reading `anchor_sizes` from a recipe."""

from collections.abc import Sequence

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.errors import RecipeError


def level_sizes(spec: DetectorSpec, levels: int, default: Sequence[int]) -> tuple[int, ...]:
    """The recipe's base size in pixels for each of the `levels` feature maps, finest first.

    Raises:
        RecipeError: the recipe gives another number of sizes.
    """
    if spec.anchor_sizes is None:
        return tuple(default)
    if len(spec.anchor_sizes) != levels:
        raise RecipeError(
            f"detector.anchor_sizes: {spec.name} has {levels} feature levels, "
            f"{len(spec.anchor_sizes)} sizes were given; give one size a level, finest first"
        )
    return tuple(spec.anchor_sizes)
