"""`resize` and `upsample`: a tensor brought to the plane of another one, or to one that is some times as large."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from lth_deploy.kernels.program.fields import ATensor, HowLinear, NumberRole, PlaneOf
from lth_deploy.kernels.program.instruction import Declarations, Instruction, Operands
from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.numerics.bounds import SMALLEST, Float, Tensor, gamma
from lth_deploy.kernels.program.values import Linear, TensorType

MAX_FACTOR = 8

Factor = Annotated[int, NumberRole("factor")]


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
        return _checked(given[0], self.linear)

    def oracle(self, operands: Operands) -> Tensor:
        x, plane = operands.tensors[self.x], operands.tensors[self.like].value.shape[2:]
        return _resampled(x, plane, self.linear)


@dataclass(frozen=True)
class Upsample(Instruction):
    """x brought to a plane that is `factor` times as large in each direction, as by `resize`."""

    NAME = "upsample"
    TAKES = "any"
    NEEDS_PLANE = True
    SINCE = 6

    x: ATensor
    factor: Factor
    linear: HowLinear = None

    def result(self, given: Sequence[TensorType], declared: Declarations) -> TensorType:
        require(2 <= self.factor <= MAX_FACTOR, f"a factor of {self.factor}, allowed are 2 to {MAX_FACTOR}")
        return _checked(given[0], self.linear)

    def oracle(self, operands: Operands) -> Tensor:
        x = operands.tensors[self.x]
        height, width = (size * self.factor for size in x.value.shape[2:])
        return _resampled(x, (height, width), self.linear)


def _checked(x: TensorType, linear: Linear | None) -> TensorType:
    exists = linear in (None, "half_pixel", "asymmetric")
    require(exists, f"linear is half_pixel or asymmetric, found '{linear!s:.40}'")
    require(linear is None or x.quantized is None, "with linear= it takes float32, an argument is quantized")
    return x


def _resampled(x: Tensor, plane: tuple[int, ...], linear: Linear | None) -> Tensor:
    if linear is not None:
        return _interpolated(x, plane, linear)
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
