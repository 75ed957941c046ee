"""What the instructions of a region have to do in the kernels, given the shapes of what reaches it."""

import math
from collections.abc import Callable, Sequence

from lth_deploy.arrays import Array
from lth_deploy.compiler.planning.amounts import CALL, far
from lth_deploy.compiler.planning.layer_amounts import Tensor, layer_amounts, rim_taps, transposed_amounts
from lth_deploy.kernels.program.fields import ActRole
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.average_pool import AveragePool, QAveragePool
from lth_deploy.kernels.program.ops.bin_mean import BinMean
from lth_deploy.kernels.program.ops.concat import Concat
from lth_deploy.kernels.program.ops.conv import Conv, MatMul, QConv, QMatMul
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose, QConvTranspose
from lth_deploy.kernels.program.ops.global_average_pool import GlobalAveragePool, QGlobalAveragePool
from lth_deploy.kernels.program.ops.load import AnyLoad, LoadTokens
from lth_deploy.kernels.program.ops.max_pool import MaxPool, ZeroMaxPool
from lth_deploy.kernels.program.ops.pad import Pad, QPad
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize, Upsample
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.ops.space_to_depth import SpaceToDepth
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check
from lth_deploy.kernels.program.values import Window

_CELL = 4
"""Bytes of a value in the layout; of quantized tensors, of four channels."""

_PLANE = 4
"""Dimensions of an activation that is a plane."""


def kernel_amounts(
    program: Program, shapes: Sequence[Sequence[int]], weights: Callable[[int], Array], l2: int | None = None
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Amounts of each instruction, and of the outputs.

    shapes: of the activations that the node reads. weights: decoded, by their number in the program. l2: bytes of
    the L2 cache where int8 and bf16 are multiplied by matrix tiles.
    """
    tensors: list[Tensor] = []
    types = check(program)
    free, loading = _conversions_at_borders(program)
    to_pixels = _only_outputs(program)
    steps: list[dict[str, float]] = []
    for number, (step, kind) in enumerate(zip(program.instructions, types, strict=True)):
        given = [tensors[number] for number in step.arguments]
        batch, height, width = _size(step, given, tensors, shapes, program)
        made = Tensor(batch, kind.channels, height, width, kind.quantized is not None, kind.rows)
        tensors.append(made)
        amounts = {} if number in free else _amounts(step, given, made, weights, l2, to_pixels=number in to_pixels)
        amounts = {"int8 load": made.cells} if number in loading else amounts
        if amounts:
            amounts |= {CALL: 1.0, **far(_CELL * (made.cells + sum(tensor.cells for tensor in given)))}
        steps.append(_with_activation(step, amounts, given[0] if isinstance(step, QGlobalAveragePool) else made))
    stored: dict[str, float] = {}
    for output in program.outputs:
        name = "storerows" if output.rows else "store"
        cells = tensors[output.tensor].cells
        stored[name] = stored.get(name, 0.0) + cells
        for amount, moved in far(2 * _CELL * cells).items():
            stored[amount] = stored.get(amount, 0.0) + moved
    return steps, stored


def _conversions_at_borders(program: Program) -> tuple[set[int], set[int]]:
    """Instructions that cost nothing, and Quantizes that read the activation of the node as it is.

    The former are the loads before the latter, and Dequantizes of which the outputs are written at once.
    """
    steps = list(enumerate(program.instructions))
    read = {number for step in program.instructions if not isinstance(step, Quantize) for number in step.arguments}
    written = {output.tensor for output in program.outputs}
    loads = {number for number, step in steps if isinstance(step, AnyLoad)} - read - written
    loading = {number for number, step in steps if isinstance(step, Quantize) and step.x in loads}
    anywhere = {number for step in program.instructions for number in step.arguments}
    last = {number for number, step in steps if isinstance(step, Dequantize)} - anywhere
    return loads | last, loading


def _only_outputs(program: Program) -> set[int]:
    """Layers whose float32 results are an output, and read by nothing else."""
    outputs = [output.tensor for output in program.outputs]
    read = {number for step in program.instructions for number in step.arguments}
    return {
        number
        for number, step in enumerate(program.instructions)
        if isinstance(step, QConv) and step.add is None and step.out is None
        if outputs.count(number) == 1 and number not in read
    }


def _size(
    step: Instruction,
    given: Sequence[Tensor],
    tensors: Sequence[Tensor],
    shapes: Sequence[Sequence[int]],
    program: Program,
) -> tuple[int, int, int]:
    """Batch, height and width of what an instruction makes."""
    if isinstance(step, AnyLoad):
        shape = shapes[step.source]
        return (shape[0], shape[2], shape[3]) if step.rank == _PLANE else (math.prod(shape[:-1]), 1, 1)
    first = given[0]
    height, width = first.height, first.width
    if isinstance(step, Resize):
        like = tensors[step.like]
        height, width = like.height, like.width
    elif isinstance(step, Upsample):
        height, width = height * step.factor, width * step.factor
    elif isinstance(step, ConvTranspose | QConvTranspose):
        height, width = height * step.kernel[0], width * step.kernel[1]
    elif isinstance(step, SpaceToDepth):
        height, width = height // step.block, width // step.block
    elif isinstance(step, Pad | QPad):
        top, left, bottom, right = step.pads
        height, width = height + top + bottom, width + left + right
    elif isinstance(step, GlobalAveragePool | QGlobalAveragePool):
        height, width = 1, 1
    elif isinstance(step, Conv | QConv | MaxPool | ZeroMaxPool | AveragePool | QAveragePool) and not first.rows:
        height, width = _windowed(height, width, step.window)
    return first.batch, height, width


def _windowed(height: int, width: int, window: Window) -> tuple[int, int]:
    top, left, bottom, right = window.pads
    reach = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(window.kernel, window.dilation, strict=True)]
    return (
        (height + top + bottom - reach[0]) // window.stride[0] + 1,
        (width + left + right - reach[1]) // window.stride[1] + 1,
    )


def _with_activation(step: Instruction, amounts: dict[str, float], of: Tensor) -> dict[str, float]:
    """With the activation of the values of a tensor."""
    kinds = [value.kind for role, value in step.values() if isinstance(role, ActRole) and value.kind != "none"]
    for kind in kinds:
        name = f"int8 {kind}" if of.quantized else kind
        amounts[name] = amounts.get(name, 0.0) + of.cells
    return amounts


def _amounts(
    step: Instruction,
    given: Sequence[Tensor],
    made: Tensor,
    weights: Callable[[int], Array],
    l2: int | None,
    *,
    to_pixels: bool,
) -> dict[str, float]:
    if isinstance(step, Conv | QConv | MatMul | QMatMul):
        if isinstance(step, Conv | QConv):
            layer = layer_amounts(
                weights(step.weight), step.groups, step.window, given[0], made, l2, to_pixels=to_pixels
            )
        else:
            layer = layer_amounts(weights(step.weight).T, 1, Window(), given[0], made, l2)
        if step.add is not None:
            layer["int8 residual" if given[0].quantized else "residual"] = made.cells
        return layer
    if isinstance(step, ConvTranspose | QConvTranspose):
        return transposed_amounts(weights(step.weight), given[0], made, l2)
    same = {ZeroMaxPool: MaxPool.NAME, Upsample: Resize.NAME}
    plain = same.get(type(step), step.NAME)
    name = f"int8 {plain}" if made.quantized or (given and given[0].quantized) else plain
    if isinstance(step, MaxPool | ZeroMaxPool | AveragePool | QAveragePool):
        taps = math.prod(step.window.kernel)
        rim = rim_taps(step.window, given[0])
        return {name: made.cells, f"{name} taps": made.cells * taps, f"{name} rim": made.cells * rim}
    if isinstance(step, GlobalAveragePool | QGlobalAveragePool):
        return {name: given[0].cells}
    if isinstance(step, BinMean):
        return {"sigmoid": given[0].cells}  # each is an exponential, which tables have no other name for
    if isinstance(step, LoadTokens):
        return {"loadtokens": made.cells}
    if isinstance(step, Concat | Slice):
        return {}  # planned away: the parts lie side by side
    if isinstance(step, Resize | Upsample) and step.linear is not None:
        return {f"{name} linear": made.cells}
    return {name: made.cells}
