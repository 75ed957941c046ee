"""Batch norms whose statistics are those of the images of all ranks.

torch's SyncBatchNorm has kernels for GPUs alone, and replaces modules; here a norm stays the module that it is, and
another function computes it while a network trains.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_Norm = nn.modules.batchnorm._BatchNorm


@contextmanager
def synchronized_norms(model: nn.Module) -> Iterator[None]:
    """In the body, batch norms of `model` in training mode use the statistics of the batches of all ranks."""
    norms = [module for module in model.modules() if isinstance(module, _Norm)]
    group = dist.new_group()  # of their own: their messages never meet those of gradients in another order
    for norm in norms:
        norm.forward = partial(_normalized, norm, group)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
        if dist.is_initialized():
            dist.destroy_process_group(group)


def _normalized(norm: Any, group: Any, values: Tensor) -> Tensor:
    if not norm.training:
        result: Tensor = type(norm).forward(norm, values)
        return result
    result, mean, variance, count = _SharedNorm.apply(values, norm.weight, norm.bias, norm.eps, group)
    if norm.track_running_stats and norm.running_mean is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            unbiased = variance * (count / (count - 1).clamp(min=1))
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), share)
    return result


class _SharedNorm(torch.autograd.Function):
    """Batch norm over [N, C, ...] of all ranks (Ioffe and Szegedy 2015); statistics in float32.

    Means and variances of the ranks are joined as Chan et al. 1979 do, without the cancellation of mean squares.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any) -> Any:
        dims, shape = _dims(values)
        x = values.float()
        count = torch.tensor([float(values.numel() // values.shape[1])], device=values.device)
        mean = x.mean(dims) if values.numel() else x.new_zeros(values.shape[1])
        squares = (x - mean.view(shape)).square().sum(dims)
        own = torch.cat([count, mean, squares])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, own, group=group)
        counts, means, squares = torch.tensor_split(torch.stack(parts), [1, 1 + values.shape[1]], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        inverse = (variance + eps).rsqrt()
        normal = (x - mean.view(shape)) * inverse.view(shape)
        ctx.save_for_backward(normal, inverse, weight, total)
        ctx.group, ctx.dims, ctx.shape = group, dims, shape
        result = normal if weight is None else normal * weight.float().view(shape)
        result = result if bias is None else result + bias.float().view(shape)
        ctx.mark_non_differentiable(mean, variance, total)
        return result.to(values.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> Any:
        normal, inverse, weight, total = ctx.saved_tensors
        dims, shape = ctx.dims, ctx.shape
        g = gradient.float()
        sums = torch.stack([g.sum(dims), (g * normal).sum(dims)])
        of_bias, of_weight = sums.clone()
        dist.all_reduce(sums, group=ctx.group)
        g = g - (sums[0] / total).view(shape) - normal * (sums[1] / total).view(shape)
        scale = inverse if weight is None else inverse * weight.float()
        of_values = (g * scale.view(shape)).to(gradient.dtype)
        if weight is None:
            return of_values, None, None, None, None
        return of_values, of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None


def _dims(values: Tensor) -> tuple[list[int], list[int]]:
    return [0, *range(2, values.ndim)], [1, -1, *[1] * (values.ndim - 2)]
