"""Fake quantization: floats that take only the values that the exported INT8 file can hold.

Weights are symmetric s8 with one scale for each output channel, activations u8 with a zero point and one scale for
each tensor, as ONNX Runtime's quantizer makes them. Gradients go straight through the rounding (Bengio et al. 2013) and
stop where a value was clipped (Jacob et al. 2018).
"""

from typing import Any

import torch
from torch import Tensor

WEIGHT_MOST, ACTIVATION_MOST = 127, 255
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny
_EMPTY_CHANNEL = 1e-12


def weight_scales(weight: Tensor, axis: int = 0) -> Tensor:
    """Scales of the output channels of `weight` [O, ...], float32 [O]: the largest weight becomes 127.

    axis: of the output channels; 1 in the weight [I, O, ...] of a transposed convolution. A channel without weights
    has a scale so small that its bias, stored in units of it, is hardly rounded.
    """
    largest = weight.detach().transpose(0, axis).flatten(1).abs().amax(1)
    scales = (largest.double() / WEIGHT_MOST).float()
    return torch.where(scales < _SMALLEST_SCALE, _EMPTY_CHANNEL, scales)


def activation_grids(extents: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and zero points, both float32 [N], of the u8 grids over `extents` [N, 2]: smallest and largest value.

    Zero is always on the grid, for padding and ReLU. An extent without width has the scale 1.
    """
    low, high = extents[:, 0].double().clamp(max=0.0), extents[:, 1].double().clamp(min=0.0)
    scales = (high - low) / ACTIVATION_MOST
    scales = torch.where(scales < _SMALLEST_SCALE, 1.0, scales)
    return scales.float(), torch.round(-low / scales).float()


def quantize_weight(weight: Tensor, scales: Tensor, axis: int = 0) -> Tensor:
    """`weight` on the grid of `scales` [O], along `axis`; nothing is clipped, so the gradient is the identity."""
    result: Tensor = _OnGrid.apply(weight, scales.reshape(-1, *[1] * (weight.ndim - 1 - axis)))
    return result


def quantize_bias(bias: Tensor, scales: Tensor) -> Tensor:
    """`bias` [O] in whole units of `scales` [O], input scale times weight scale, as s32 stores it."""
    result: Tensor = _OnGrid.apply(bias, scales)
    return result


def quantize_activation(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """`values` on the u8 grid, float32; those outside of it are clipped and get no gradient."""
    result: Tensor = _Clipped.apply(values.float(), scale, zero)
    return result


class _OnGrid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, scales: Tensor) -> Tensor:
        return (values / scales).round_().mul_(scales)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        steps = (values / scale).round_()
        inside = (steps >= -zero) & (steps <= ACTIVATION_MOST - zero)
        ctx.save_for_backward(inside)
        return steps.clamp_(-zero, ACTIVATION_MOST - zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None
