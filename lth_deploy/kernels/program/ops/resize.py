"""`resize`: a tensor brought to the plane of another one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, HowLinear, PlaneOf
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Float, Tensor, gamma
from lth_deploy.kernels.program.values import Linear, TensorType


@dataclass(frozen=True)
class Resize(Instruction):
    """x brought to the plane of `like` by nearest neighbors: source index = floor(i * in / out).

    linear: instead by bilinear interpolation, at (i + 1/2) * in / out - 1/2 for `half_pixel` and i * in / out for
    `asymmetric`.
    """

    NAME = "resize"
    TAKES = "any"
    NEEDS_PLANE = True

    x: ATensor
    like: PlaneOf
    linear: HowLinear = None

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        exists = self.linear in (None, "half_pixel", "asymmetric")
        require(exists, f"linear is half_pixel or asymmetric, found '{self.linear!s:.40}'")
        floats = self.linear is None or given[0].quantized is None
        require(floats, "with linear= it takes float32, an argument is quantized")
        return given[0]

    def oracle(self, operands: Operands) -> Tensor:
        x, plane = operands.tensors[self.x], operands.tensors[self.like].value.shape[2:]
        if self.linear is not None:
            return _interpolated(x, plane, self.linear)
        return replace(x, value=_nearest(x.value, plane), bound=_nearest(x.bound, plane))


def _nearest(x: Float, plane: tuple[int, ...]) -> Float:
    """Nearest neighbors: source index = floor(i * in / out)."""
    height, width = plane
    rows = np.arange(height) * x.shape[2] // height
    columns = np.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


def _interpolated(x: Tensor, plane: tuple[int, ...], how: Linear) -> Tensor:
    """Bilinear means; every weight costs a rounding, as do the product and the sum, in each direction."""
    rows, columns = (_blend(x.value.shape[2 + i], plane[i], how) for i in (0, 1))
    value, size, spread = (rows @ part @ columns.T for part in (x.value, np.abs(x.value) + x.bound, x.bound))
    return Tensor(value, spread + gamma(np.float64(6)) * size + SMALLEST)


def _blend(source: int, made: int, how: Linear) -> Float:
    """[made, source]: what every pixel of one direction takes of each pixel of the source."""
    index = np.arange(made, dtype=np.float64)
    at = (index + 0.5) * source / made - 0.5 if how == "half_pixel" else index * source / made
    at = np.clip(at, 0, source - 1)
    first = np.floor(at).astype(np.int64)
    weights = np.zeros((made, source))
    np.add.at(weights, (np.arange(made), first), 1 - (at - first))
    np.add.at(weights, (np.arange(made), np.minimum(first + 1, source - 1)), at - first)
    return weights
