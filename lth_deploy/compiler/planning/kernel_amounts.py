"""What the instructions of a region have to do in the kernels, given the shapes of what reaches it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.compiler.planning.amounts import CALL, far
from lth_deploy.compiler.regions.match.quad_density import kept_quads
from lth_deploy.kernels.program.fields import ActRole
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.limits import QUAD
from lth_deploy.kernels.program.ops.average_pool import AveragePool, QAveragePool
from lth_deploy.kernels.program.ops.concat import Concat
from lth_deploy.kernels.program.ops.conv import Conv, MatMul, QConv, QMatMul
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose, QConvTranspose
from lth_deploy.kernels.program.ops.global_average_pool import GlobalAveragePool, QGlobalAveragePool
from lth_deploy.kernels.program.ops.load import AnyLoad, LoadTokens
from lth_deploy.kernels.program.ops.max_pool import MaxPool, ZeroMaxPool
from lth_deploy.kernels.program.ops.pad import Pad, QPad
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.ops.space_to_depth import SpaceToDepth
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check
from lth_deploy.kernels.program.values import Window

_CELL = 4
"""Bytes of a value in the layout; of quantized tensors, of four channels."""

_GRID = 4
"""Sub-images that a plane is cut into in each direction; what does not divide is filled up."""

_PLANE = 4
"""Dimensions of an activation that is a plane."""

_STEM_CHANNELS = 4
_FULL_PAIRS = 0.9
_FULL_QUADS = 0.9
"""Share of quads with a weight from which on a layer counts as full."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a region: images or rows, channels, height and width of a plane, and whether it is quantized."""

    batch: int
    channels: int
    height: int
    width: int
    quantized: bool
    rows: bool

    @property
    def cells(self) -> float:
        """Values in the layout, those that fill it up too; of quantized tensors, four channels each."""
        channels = -(-self.channels // QUAD) if self.quantized else self.channels
        return float(channels * self.places)

    @property
    def places(self) -> int:
        """Positions of all planes in the layout."""
        if self.rows:
            return _GRID**2 * -(-self.batch // _GRID**2)
        return self.batch * _GRID**2 * -(-self.height // _GRID) * -(-self.width // _GRID)


def kernel_amounts(
    program: Program, shapes: Sequence[Sequence[int]], weights: Callable[[int], Array]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Amounts of each instruction, and of the outputs.

    shapes: of the activations that the node reads. weights: decoded, by their number in the program.
    """
    tensors: list[Tensor] = []
    types = check(program)
    free, loading = _conversions_at_borders(program)
    steps: list[dict[str, float]] = []
    for number, (step, kind) in enumerate(zip(program.instructions, types, strict=True)):
        given = [tensors[number] for number in step.arguments]
        batch, height, width = _size(step, given, tensors, shapes, program)
        made = Tensor(batch, kind.channels, height, width, kind.quantized is not None, kind.rows)
        tensors.append(made)
        amounts = {} if number in free else _amounts(step, given, made, weights)
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
    step: Instruction, given: Sequence[Tensor], made: Tensor, weights: Callable[[int], Array]
) -> dict[str, float]:
    if isinstance(step, Conv | QConv | MatMul | QMatMul):
        if isinstance(step, Conv | QConv):
            layer = layer_amounts(weights(step.weight), step.groups, step.window, given[0], made)
        else:
            layer = layer_amounts(weights(step.weight).T, 1, Window(), given[0], made)
        if step.add is not None:
            layer["int8 residual" if given[0].quantized else "residual"] = made.cells
        return layer
    if isinstance(step, ConvTranspose | QConvTranspose):
        return transposed_amounts(weights(step.weight), given[0], made)
    plain = MaxPool.NAME if isinstance(step, ZeroMaxPool) else step.NAME
    name = f"int8 {plain}" if made.quantized or (given and given[0].quantized) else plain
    if isinstance(step, MaxPool | ZeroMaxPool | AveragePool | QAveragePool):
        taps = math.prod(step.window.kernel)
        rim = _rim_taps(step.window, given[0])
        return {name: made.cells, f"{name} taps": made.cells * taps, f"{name} rim": made.cells * rim}
    if isinstance(step, GlobalAveragePool | QGlobalAveragePool):
        return {name: given[0].cells}
    if isinstance(step, LoadTokens):
        return {"loadtokens": made.cells}
    if isinstance(step, Concat | Slice):
        return {}  # planned away: the parts lie side by side
    if isinstance(step, Resize) and step.linear is not None:
        return {f"{name} linear": made.cells}
    return {name: made.cells}


def layer_amounts(weights: Array, groups: int, window: Window, x: Tensor, made: Tensor) -> dict[str, float]:
    """Multiplications; sums that go to and fro for each input of each output; inputs that are copied; values written.

    weights: [outputs, inputs of a group, ...].
    """
    outputs, inputs = weights.shape[:2]
    kind = _class(weights, groups, window, x)
    name, places = (f"int8 {kind}" if x.quantized else kind), float(made.places)
    layer = {f"{name}.macs": weights.size * places, f"{name}.outputs": outputs * places}
    if kind == "depthwise":
        rim = outputs * places * _rim_taps(window, x)
        return layer | {f"{name}.inputs": outputs * float(x.places), f"{name}.rim": rim}
    if kind == "stem":
        return layer
    if kind == "grouped":
        computed = 4 * kept_quads(weights)[0] if x.quantized else int(np.count_nonzero(weights))
        return layer | {f"{name}.macs": computed * places}
    layer |= {f"{name}.lines": outputs * inputs * places, f"{name}.inputs": inputs * places}
    if not x.quantized:
        layer[f"{name}.macs"] = int(np.count_nonzero(weights)) * places
        if runs_in_pairs(weights):
            layer[f"{name}.paired lines"] = layer.pop(f"{name}.lines")
        return layer
    del layer[f"{name}.macs"]
    return layer | _quad_amounts(name, weights, places)


def _quad_amounts(name: str, weights: Array, places: float) -> dict[str, float]:
    """Of an int8 layer: multiplications by quads, by pairs of quads, or in full."""
    outputs, inputs = weights.shape[:2]
    quads, pairs = kept_quads(weights)
    full = outputs * -(-inputs // QUAD) * math.prod(weights.shape[2:])
    if quads >= _FULL_QUADS * full:
        return {f"{name}.full macs": weights.size * places}
    if quads >= _FULL_PAIRS * 2 * pairs:
        return {f"{name}.pair macs": 4.0 * quads * places}
    return {f"{name}.macs": 4.0 * quads * places}


def runs_in_pairs(weights: npt.NDArray[np.float32]) -> bool:
    """Whether the kernels take output channels two by two: where most of their zeros are the same (`pack.cpp`)."""
    whole = weights[: weights.shape[0] // 2 * 2] != 0
    places = np.count_nonzero(whole[0::2] | whole[1::2])
    return bool(places > 0 and np.count_nonzero(whole) >= _FULL_PAIRS * 2 * places)


def _rim_taps(window: Window, x: Tensor) -> float:
    """Taps of a window that lie in another sub-image than its middle, on average: these lines are put together."""
    inside = 1.0
    for kernel, dilation, size in zip(window.kernel, window.dilation, (x.height, x.width), strict=True):
        lines = -(-size // _GRID)
        offsets = (dilation * abs(tap - kernel // 2) for tap in range(kernel))
        inside *= sum(1.0 - min(1.0, offset / lines) for offset in offsets)
    return math.prod(window.kernel) - inside


def _class(weights: Array, groups: int, window: Window, x: Tensor) -> str:
    if x.rows:
        return "rows"
    if groups > 1:
        return "depthwise" if weights.shape[1] == 1 else "grouped"
    if weights.shape[1] <= _STEM_CHANNELS:
        return "stem"
    return "pointwise" if window.kernel == (1, 1) else "conv"


def transposed_amounts(weights: Array, x: Tensor, made: Tensor) -> dict[str, float]:
    """A 1x1 layer for each phase, whose outputs are interleaved. weights: [inputs, outputs, ...]."""
    flat = weights.reshape(weights.shape[0], -1, 1, 1).swapaxes(0, 1)
    return layer_amounts(flat, 1, Window(), x, x) | {"interleave": made.cells}
