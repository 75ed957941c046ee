"""Maxima over windows of any stride, on every instruction set, beside the oracle: their bits are those of the input."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Quantized, Window
from tests.kernels.held import hold

WINDOWS = {
    "3x3, stride 2": Window((3, 3), (2, 2), (1, 1, 1, 1)),
    "3x3, stride 2, padded at the end": Window((3, 3), (2, 2), (0, 0, 1, 1)),
    "2x2, stride 2": Window((2, 2), (2, 2)),
    "5x5": Window((5, 5), (1, 1), (2, 2, 2, 2)),
    "13x13": Window((13, 13), (1, 1), (6, 6, 6, 6)),
    "dilated": Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "any": Window((4, 2), (1, 3), (2, 1, 0, 0), (1, 2)),
    "one of many": Window((1, 1), (3, 2)),
}
SIZES = [(64, 64), (37, 50), (26, 26), (13, 14), (160, 9), (13, 1), (2, 131)]
"""Planes with lines of their own lanes alone inside, with ends of rows in the middle of a lane, and of one column."""


def fits(window: Window, size: tuple[int, int]) -> bool:
    padded = [size[axis] + window.pads[axis] + window.pads[axis + 2] for axis in (0, 1)]
    reach = [(window.kernel[axis] - 1) * window.dilation[axis] + 1 for axis in (0, 1)]
    return all(have >= need for have, need in zip(padded, reach, strict=True))


@pytest.mark.parametrize("window", WINDOWS)
def test_max_pool(kernels: Path, window: str) -> None:
    rng = np.random.default_rng(0)
    for number, size in enumerate(size for size in SIZES if fits(WINDOWS[window], size)):
        channels = (6, 1, 21)[number % 3]
        x = (rng.standard_normal((1 + number % 2, channels, *size)) - 3).astype(np.float32)
        floats = Program(1, (), (Load(0, channels), MaxPool(0, WINDOWS[window])), (Output(1),))
        hold(floats, [], [x], kernels)
        steps = (Load(0, channels), Quantize(0, Quantized(0.05, 200)), MaxPool(1, WINDOWS[window]), Dequantize(2))
        hold(Program(1, (), steps, (Output(3),)), [], [x], kernels)
