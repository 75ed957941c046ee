"""Optimizers by name."""

import torch
from torch import nn

from lth_deploy.config.training_spec import OptimizerSpec

SLOTS: dict[type[torch.optim.Optimizer], frozenset[str]] = {
    torch.optim.SGD: frozenset({"momentum_buffer"}),
    torch.optim.AdamW: frozenset({"step", "exp_avg", "exp_avg_sq"}),
}
"""What each optimizer keeps of a parameter."""


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """An optimizer over the trainable parameters; weight decay acts on weights, not on biases and norms."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # The fused forms update in one pass over memory, which halves the step on a CPU.
    optimizer: torch.optim.Optimizer
    if spec.name == "sgd":
        optimizer = torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=spec.lr, fused=True)
    reset_optimizer(optimizer)
    return optimizer


def reset_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Forget everything accumulated.

    Momentum starts from zeros, which gives the same first step. Left to itself, fused SGD starts from memory that
    nobody wrote when fp16 overflows in the first step, and fails on a parameter whose first gradient comes late.
    """
    optimizer.state.clear()
    for group in optimizer.param_groups:
        if group.get("momentum"):
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
