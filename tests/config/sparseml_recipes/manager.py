"""Runs a recipe with SparseML's own manager; for the Python of an environment that has sparseml 1.8.0.

    python manager.py RECIPE WEIGHTS MASKS

WEIGHTS holds the convolutions of a network by name. Gradients are zero, so that only the recipe changes weights. MASKS
is written: what is not zero after the last epoch.
"""

import sys

import torch
from sparseml.pytorch.optim import ScheduledModifierManager

STEPS_PER_EPOCH = 4


def main(recipe: str, weights: str, masks: str) -> None:
    """Load, train for nothing, and store the masks."""
    state = torch.load(weights, weights_only=True)
    model = torch.nn.Module()
    for name, weight in state.items():
        layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), bias=False)
        layer.weight.data.copy_(weight)
        model.add_module(name.removesuffix(".weight"), layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    manager = ScheduledModifierManager.from_yaml(recipe)
    optimizer = manager.modify(model, optimizer, steps_per_epoch=STEPS_PER_EPOCH)
    for _ in range(int(manager.max_epochs) * STEPS_PER_EPOCH):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    manager.finalize(model)
    torch.save({name: parameter.detach() != 0 for name, parameter in model.named_parameters()}, masks)


if __name__ == "__main__":
    main(*sys.argv[1:])
