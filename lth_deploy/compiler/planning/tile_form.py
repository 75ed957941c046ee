"""Which layers the kernels compute by matrix tiles (AMX), and how many tiles: the rule of the kernel library, restated.

The library decides when it packs weights (`kernels/src/plan/pack_dense.cpp`, `pack_gathered.cpp`). Predictions are made
for other machines and before anything is packed, so its rule stands here too; a test holds both equal.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.arrays import Array
from lth_deploy.kernels.program.limits import QUAD
from lth_deploy.kernels.program.values import Window

ROWS = 16
"""Outputs of a tile of weights; its cells as well, and the lanes of a line."""

LINES = 4
"""Neighboring lines that are multiplied by a loaded tile of weights, at most."""

_TILE_BYTES = ROWS * ROWS * 4

_LEAST_SHARE = {QUAD: (0.11, 0.17), 2: (0.05, 0.013)}
"""By channels of a cell, the share of cells with any weight that the dense form needs: a constant, and more for what
the tiles take of the L2 cache."""

_LEAST_TO_PIXELS = (0.04, 0.17)
"""The same of int8 layers whose float32 results are an output and nothing else: tiles write them as pixels."""

_SURELY_DENSE = 0.35
_MOST_ALONE, _MOST_SHARED, _LEAST_FILLED, _MOST_UNION = 0.35, 0.5, 0.25, 1.1

_KINDS = ("dense", "gathered", "gathered by 32")


@dataclass(frozen=True)
class TileForm:
    """A layer in tiles of weights.

    tiles: of weights, in all. shared: groups of 16 outputs that read the same gathered lines; 0 where all places are
    multiplied. columns: taps that a loaded column of lines is multiplied by. cells: of an input position.
    """

    tiles: int
    shared: int
    columns: int
    cells: int

    def __str__(self) -> str:
        return f"{_KINDS[self.shared]} {self.tiles}"


def is_in_tiles(form: str) -> bool:
    """Whether what the kernel library calls the form of a layer is one of matrix tiles."""
    return form.startswith(("dense ", "gathered "))


def tile_form(
    weights: Array, window: Window, channels_a_cell: int, l2: int, *, to_pixels: bool = False
) -> TileForm | None:
    """The form of a layer without groups; None where the kernels that skip zeros compute it.

    weights: [outputs, inputs, ...]. channels_a_cell: 4 of int8, 2 of bf16. l2: bytes of the L2 cache.
    to_pixels: the results are float32, an output, and read by nothing else.
    """
    if any(one != 1 for one in window.dilation):
        return None
    used = _used_cells(weights, channels_a_cell)
    outputs, places, cells = used.shape[0], used.shape[1] * used.shape[2], used.shape[2]
    a_group, columns = _tiles_of_group(cells, window)
    groups = -(-outputs // ROWS)
    kept = int(np.count_nonzero(used))
    gathered = _gathered(used.reshape(outputs, places), groups * a_group, kept)
    if gathered is not None:
        return TileForm(*gathered, columns, cells)
    tiles = groups * a_group
    pixels = to_pixels and channels_a_cell == QUAD and not in_one_run(window)
    least, of_l2 = _LEAST_TO_PIXELS if pixels else _LEAST_SHARE[channels_a_cell]
    share = min(_SURELY_DENSE, least + of_l2 * tiles * _TILE_BYTES / l2)
    return TileForm(tiles, 0, columns, cells) if kept >= share * tiles * ROWS**2 else None


def in_one_run(window: Window) -> bool:
    """Whether a window is one pixel, so that all lines of a plane can be computed in one run."""
    return window.kernel == window.stride == (1, 1) and not any(window.pads)


def _used_cells(weights: Array, channels: int) -> npt.NDArray[np.bool_]:
    """[outputs, taps, cells]: whether a cell of so many channels has any weight."""
    outputs, inputs = weights.shape[:2]
    cells = -(-inputs // channels)
    used = np.zeros((outputs, cells * channels, weights[0, 0].size), np.bool_)
    used[:, :inputs] = weights.reshape(outputs, inputs, -1) != 0
    return np.asarray(used.reshape(outputs, cells, channels, -1).any(axis=2)).swapaxes(1, 2)


def _tiles_of_group(cells: int, window: Window) -> tuple[int, int]:
    """Tiles of 16 outputs with all places, and the columns of the window that share a load."""
    height, width = window.kernel
    whole = -(-height * width * cells // ROWS)
    if window.kernel != (3, 3) or window.stride[0] != window.stride[1] or window.stride[0] > 2:
        return whole, 1
    shared = height * -(-cells // ROWS) * width
    return (whole, 1) if whole * 5 < shared * 4 else (shared, width)


def _gathered(used: npt.NDArray[np.bool_], dense: int, kept: int) -> tuple[int, int] | None:
    """Tiles and sharing groups where only the places are multiplied at which 16 outputs, or 32, have a weight."""
    groups = -(-len(used) // ROWS)
    tiles, shared = _tiles_of_units(used, ROWS), 1
    if groups % 2 == 0:
        together = 2 * _tiles_of_units(used, 2 * ROWS)
        if together <= _MOST_UNION * tiles:
            tiles, shared = together, 2
    few = tiles <= dense * (_MOST_SHARED if shared > 1 else _MOST_ALONE)
    return (tiles, shared) if few and tiles and kept >= _LEAST_FILLED * tiles * ROWS**2 else None


def _tiles_of_units(used: npt.NDArray[np.bool_], rows: int) -> int:
    units = -(-len(used) // rows)
    filled = np.zeros((units * rows, used.shape[1]), np.bool_)
    filled[: len(used)] = used
    found = filled.reshape(units, rows, -1).any(axis=1).sum(axis=1)
    return int((-(-found // ROWS)).sum())
