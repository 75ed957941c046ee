"""How often each weight is multiplied for one image: MACs of a layer = its weights x its positions."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lth_deploy.pruning.scope import ScopedLayer


def measure_positions(model: nn.Module, layers: Sequence[ScopedLayer], images: Sequence[Tensor]) -> dict[str, float]:
    """Mean multiply positions per image by parameter name, counted in real forward passes.

    Args:
        model: a detector; left in evaluation mode.
        layers: the layers to count.
        images: float32 [3, H, W] in 0..1. Heads that run on regions see as many as the detector proposes.
    """

    def passes() -> None:
        for image in images:
            model([image])

    counts = count_positions(model, layers, passes)
    return {name: count / max(len(images), 1) for name, count in counts.items()}


def count_positions(model: nn.Module, layers: Sequence[ScopedLayer], passes: Callable[[], object]) -> dict[str, float]:
    """Multiply positions by parameter name over all that `passes` runs; leaves `model` in evaluation mode."""
    counts = dict.fromkeys((layer.name for layer in layers), 0.0)
    hooks = [layer.module.register_forward_hook(_counter(layer.name, counts)) for layer in layers]
    model.eval()
    try:
        with torch.inference_mode():
            passes()
    finally:
        for hook in hooks:
            hook.remove()
    return counts


def _counter(name: str, counts: dict[str, float]):  # type: ignore[no-untyped-def]
    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            counts[name] += output.numel() // output.shape[-1]
        else:
            # A transposed convolution multiplies every weight once for each position of its input.
            plane = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
            counts[name] += plane.shape[0] * plane.shape[-2] * plane.shape[-1]

    return count
