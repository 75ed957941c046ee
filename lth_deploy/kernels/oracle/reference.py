"""The oracle: what a region program computes, in float64, and how far a kernel may be from it.

Slow and plain on purpose. What depends on bytes alone is exact: a bound above zero comes from float32 before it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle import quantized as quantized
from lth_deploy.kernels.oracle.error_bounds import (
    SMALLEST,
    Float,
    Tensor,
    activated,
    added,
    column,
    convolved,
    gamma,
    interpolated,
    nearest,
    pooled,
    same_shape,
    spread_out,
)
from lth_deploy.kernels.program.instructions import (
    Activate,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Instruction,
    Load,
    MaxPool,
    Program,
    QAdd,
    QConv,
    QConvTranspose,
    Quantize,
    Requantize,
    Resize,
    Slice,
)

AnyFloat = npt.NDArray[np.floating]
Constant = npt.NDArray[np.generic]


def run(program: Program, weights: Sequence[Constant], inputs: Sequence[AnyFloat]) -> list[Float]:
    """Outputs of a checked program; weights in the order of the program, decoded and in their dims.

    Raises:
        ArtifactError: an input does not fit the program.
    """
    return [tensor.value for tensor in run_bounded(program, weights, inputs)]


def run_bounded(program: Program, weights: Sequence[Constant], inputs: Sequence[AnyFloat]) -> list[Tensor]:
    """Outputs with the error bound of each element; see `run`."""
    wide = [np.asarray(weight, np.float64) for weight in weights]
    made: list[Tensor] = []
    for number, step in enumerate(program.instructions):
        try:
            made.append(evaluate(step, made, wide, inputs))
        except ValueError as error:
            raise ArtifactError(f"region, t{number}: {error}") from error
    outputs = [(made[output.tensor], output.rows) for output in program.outputs]
    return [_as_rows(tensor) if rows else tensor for tensor, rows in outputs]


def _as_rows(tensor: Tensor) -> Tensor:
    return Tensor(tensor.value[:, :, 0, 0], tensor.bound[:, :, 0, 0])


def evaluate(
    step: Instruction,
    made: list[Tensor],
    weights: list[Float],
    inputs: Sequence[AnyFloat],
    sums: quantized.Sums = "integers",
) -> Tensor:
    """What one instruction makes of earlier tensors. sums: how layers between bytes add up products.

    Raises:
        ValueError: shapes do not fit.
    """
    match step:
        case Load():
            return _load(step, inputs[step.source])
        case Conv():
            return _conv(step, made, weights)
        case ConvTranspose():
            return _conv_transpose(step, made[step.x], weights)
        case MaxPool():
            x = made[step.x]
            lowest = -np.inf if x.quantized is None else 0
            return replace(x, value=pooled(x.value, step.window, lowest), bound=pooled(x.bound, step.window, 0))
        case Resize():
            x, plane = made[step.x], made[step.like].value.shape[2:]
            if step.linear is not None:
                return interpolated(x, plane, step.linear)
            return replace(x, value=nearest(x.value, plane), bound=nearest(x.bound, plane))
        case Add():
            return activated(added(made[step.a], made[step.b]), step.act)
        case Activate():
            return activated(made[step.x], step.act)
        case Concat():
            parts = [made[part] for part in step.parts]
            value, bound = (np.concatenate([getattr(p, name) for p in parts], 1) for name in ("value", "bound"))
            return replace(parts[0], value=value, bound=bound)
        case Slice():
            x, channels = made[step.x], slice(step.start, step.stop)
            return replace(x, value=x.value[:, channels], bound=x.bound[:, channels])
        case Quantize():
            return quantized.quantized(made[step.x], step.out)
        case QConv():
            return quantized.convolution(step, made, weights, sums)
        case QConvTranspose():
            return quantized.transposed(step, made[step.x], weights, sums)
        case QAdd():
            return quantized.rescaled([made[step.a], made[step.b]], step.act, step.out)
        case Requantize():
            return quantized.rescaled([made[step.x]], step.act, step.out)
        case Dequantize():
            return quantized.dequantized(made[step.x])


def _load(step: Load, given: AnyFloat) -> Tensor:
    value = np.asarray(given, np.float64)
    if value.ndim != (2 if step.rows else 4) or value.shape[1] != step.channels:
        raise ValueError(f"input {step.source} has the shape {list(value.shape)}, {step.channels} channels are needed")
    value = value.reshape(value.shape[0], step.channels, *(value.shape[2:] or (1, 1)))
    return Tensor(value, np.zeros_like(value))


def _conv(step: Conv, made: list[Tensor], weights: list[Float]) -> Tensor:
    x, weight = made[step.x], weights[step.weight]
    weight = weight.reshape(*weight.shape, *(1, 1)[: 4 - weight.ndim])
    value = convolved(x.value, weight, step.window, step.groups)
    size = convolved(np.abs(x.value) + x.bound, np.abs(weight), step.window, step.groups)
    spread = convolved(x.bound, np.abs(weight), step.window, step.groups)
    terms = np.count_nonzero(weight.reshape(weight.shape[0], -1), axis=1).astype(np.float64)
    if step.bias is not None:
        value = value + column(weights[step.bias])
        size, terms = size + np.abs(column(weights[step.bias])), terms + 1
    if step.add is not None:
        added = made[step.add]
        same_shape(value, added.value)
        value, spread = value + added.value, spread + added.bound
        size, terms = size + np.abs(added.value) + added.bound, terms + 1
    return activated(Tensor(value, spread + column(gamma(terms + 1)) * size + SMALLEST), step.act)


def _conv_transpose(step: ConvTranspose, x: Tensor, weights: list[Float]) -> Tensor:
    weight = weights[step.weight]
    value = spread_out(x.value, weight)
    size = spread_out(np.abs(x.value) + x.bound, np.abs(weight))
    spread = spread_out(x.bound, np.abs(weight))
    if step.bias is not None:
        bias = column(weights[step.bias])
        value, size = value + bias, size + np.abs(bias)
    relative = gamma(np.float64(weight.shape[0] + 2))
    return activated(Tensor(value, spread + relative * size + SMALLEST), step.act)
