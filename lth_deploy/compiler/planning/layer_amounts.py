"""What a layer has to do in the kernels: multiplications, lines that go to and fro, inputs that are copied, outputs."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.compiler.planning.tile_amounts import CLASS, tile_amounts
from lth_deploy.compiler.planning.tile_form import tile_form
from lth_deploy.compiler.regions.match.quad_density import kept_quads
from lth_deploy.formats.base import BF16
from lth_deploy.kernels.program.limits import QUAD
from lth_deploy.kernels.program.values import Window

GRID = 4
"""Sub-images that a plane is cut into in each direction; what does not divide is filled up."""

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
            return GRID**2 * -(-self.batch // GRID**2)
        return self.batch * GRID**2 * -(-self.height // GRID) * -(-self.width // GRID)


def layer_amounts(
    weights: Array,
    groups: int,
    window: Window,
    x: Tensor,
    made: Tensor,
    l2: int | None = None,
    *,
    to_pixels: bool = False,
) -> dict[str, float]:
    """Multiplications; sums that go to and fro for each input of each output; inputs that are copied; values written.

    weights: [outputs, inputs of a group, ...]. to_pixels: as of `tile_form`.
    """
    outputs, inputs = weights.shape[:2]
    kind, bf16 = _class(weights, groups, window, x), weights.dtype == BF16
    if l2 is not None and groups == 1 and (x.quantized or bf16):
        in_tiles = _tile_amounts(weights, window, x, made, l2, to_pixels=to_pixels and not made.rows)
        if in_tiles is not None:
            return in_tiles
    name, places = (f"int8 {kind}" if x.quantized else f"bf16 {kind}" if bf16 else kind), float(made.places)
    layer = {f"{name}.macs": weights.size * places, f"{name}.outputs": outputs * places}
    if kind == "depthwise":
        rim = outputs * places * rim_taps(window, x)
        return layer | {f"{name}.inputs": outputs * float(x.places), f"{name}.rim": rim}
    if kind == "stem":
        return layer | {f"{name}.macs": _kept_twos(weights) * places} if bf16 else layer
    if kind == "grouped":
        computed = 4 * kept_quads(weights)[0] if x.quantized else int(np.count_nonzero(weights))
        return layer | {f"{name}.macs": computed * places}
    layer |= {f"{name}.lines": outputs * inputs * places, f"{name}.inputs": inputs * places}
    if not x.quantized:
        layer[f"{name}.macs"] = (_kept_twos(weights) if bf16 else int(np.count_nonzero(weights))) * places
        if runs_in_pairs(weights):
            layer[f"{name}.paired lines"] = layer.pop(f"{name}.lines")
        return layer
    del layer[f"{name}.macs"]
    return layer | _quad_amounts(name, weights, places)


def _tile_amounts(
    weights: Array, window: Window, x: Tensor, made: Tensor, l2: int, *, to_pixels: bool
) -> dict[str, float] | None:
    """Of a layer by matrix tiles; None of one that has another form."""
    values, channels = ("int8", QUAD) if x.quantized else ("bf16", 2)
    form = tile_form(weights, window, channels, l2, to_pixels=to_pixels)
    if form is None:
        return None
    width = 1 if made.rows else -(-made.width // GRID)
    found = tile_amounts(form, window, len(weights), made.places // GRID**2 // width, width)
    return {f"{values} {CLASS}.{term}": amount for term, amount in found.items()}


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


def _kept_twos(weights: Array) -> int:
    """Multiplications of two neighboring inputs of an output at a tap, of which either has a weight."""
    outputs, inputs = weights.shape[:2]
    twos = np.zeros((outputs, -(-inputs // 2) * 2, math.prod(weights.shape[2:])), np.bool_)
    twos[:, :inputs] = weights.reshape(outputs, inputs, -1) != 0
    return 2 * int(np.count_nonzero(twos[:, 0::2] | twos[:, 1::2]))


def runs_in_pairs(weights: npt.NDArray[np.float32]) -> bool:
    """Whether the kernels take output channels two by two: where most of their zeros are the same (`pack.cpp`)."""
    whole = weights[: weights.shape[0] // 2 * 2] != 0
    places = np.count_nonzero(whole[0::2] | whole[1::2])
    return bool(places > 0 and np.count_nonzero(whole) >= _FULL_PAIRS * 2 * places)


def rim_taps(window: Window, x: Tensor) -> float:
    """Taps of a window that lie in another sub-image than its middle, on average: these lines are put together."""
    inside = 1.0
    for kernel, dilation, size in zip(window.kernel, window.dilation, (x.height, x.width), strict=True):
        lines = -(-size // GRID)
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


def transposed_amounts(weights: Array, x: Tensor, made: Tensor, l2: int | None = None) -> dict[str, float]:
    """A 1x1 layer for each phase, whose outputs are interleaved. weights: [inputs, outputs, ...]."""
    flat = weights.reshape(weights.shape[0], -1, 1, 1).swapaxes(0, 1)
    return layer_amounts(flat, 1, Window(), x, x, l2) | {"interleave": made.cells}
