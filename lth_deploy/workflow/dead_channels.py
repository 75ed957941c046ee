"""Leaving out of an export what pruning of whole filters made dead, and saying so."""

import logging
from typing import TYPE_CHECKING

from lth_deploy.recipe import Recipe

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)


def without_dead_channels(
    graph: "onnx.ModelProto", recipe: Recipe, trial: str
) -> tuple["onnx.ModelProto", dict[str, tuple[int, int]]]:
    """The graph without the channels that pruning of whole filters left dead; how many, of how many, by weight."""
    if recipe.pruning.structure != "filter":
        return graph, {}
    from lth_deploy.compiler.dead_channels import remove_dead_channels

    smaller, report = remove_dead_channels(graph)
    for name, (gone, channels) in report.removed.items():
        logger.info("%s: %s: %d of %d channels removed", trial, name, gone, channels)
    for name, reason in report.left.items():
        logger.warning("%s: %s: %s", trial, name, reason)
    return smaller, report.removed
