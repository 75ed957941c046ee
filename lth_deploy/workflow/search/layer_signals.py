"""What a search asks of a model's layers: how often their weights are multiplied, and what criteria look at."""

from typing import TYPE_CHECKING

from lth_deploy.config.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lth_deploy.data.coco.load import CocoDataset
    from lth_deploy.pruning.ranking.criteria import Signal
    from lth_deploy.pruning.ranking.signals import Signals
    from lth_deploy.training.loop import BatchSource

POSITION_IMAGES = 4
"""Images over which multiply positions are averaged; they vary only with image size and proposals."""


def positions_of(model: "nn.Module", dataset: "CocoDataset", device: "torch.device") -> dict[str, float]:
    """Multiply positions by parameter name, on the first images of `dataset`.

    Of every layer that could be pruned, so that a dense training serves recipes that prune other parts.
    """
    import torch

    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import to_input
    from lth_deploy.pruning.mac_positions import measure_positions
    from lth_deploy.pruning.scope import prunable_layers

    images = [to_input(torch.tensor(read_record(record), device=device)) for record in dataset.images[:POSITION_IMAGES]]
    return measure_positions(model, prunable_layers(model), images)


def signal_of(
    signal: "Signal", model: "nn.Module", recipe: Recipe, batches: "BatchSource", device: "torch.device"
) -> "Signals":
    """The signal that a criterion needs, on the first batches of the training.

    Raises:
        RecipeError: this detector has none.
    """
    from lth_deploy.detectors.raw_outputs import raw_outputs
    from lth_deploy.pruning.ranking.signals import loss_gradient, synaptic_flow
    from lth_deploy.pruning.scope import layers_of

    names = [layer.name for layer in layers_of(model, recipe.pruning)]
    if signal == "flow":
        return synaptic_flow(model, names, raw_outputs)
    chosen = (batches.batch(step) for step in range(recipe.pruning.criterion_batches))
    return loss_gradient(model, names, chosen, device, recipe.training.seed)
