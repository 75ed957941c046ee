"""Depthwise and grouped convolutions on every instruction set, beside the oracle."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.kernels.program.ops.conv import Conv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import NONE, Act, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.held import hold
from tests.kernels.region_models import random_constants

WINDOWS = {
    "3x3": Window((3, 3), (1, 1), (1, 1, 1, 1)),
    "3x3, stride 2": Window((3, 3), (2, 2), (1, 1, 1, 1)),
    "3x3, stride 2, padded at the end": Window((3, 3), (2, 2), (0, 0, 1, 1)),
    "5x5": Window((5, 5), (1, 1), (2, 2, 2, 2)),
    "5x5, stride 2": Window((5, 5), (2, 2), (2, 2, 2, 2)),
    "7x7": Window((7, 7), (1, 1), (3, 3, 3, 3)),
    "dilated": Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "any": Window((4, 2), (1, 3), (2, 1, 0, 0), (1, 2)),
    "wide steps": Window((2, 5), (3, 4), (1, 0, 1, 3)),
    "1x1": Window(),
}
SIZES = [(64, 64), (37, 50), (26, 26), (13, 14), (8, 7), (160, 9), (1, 4)]
"""Planes with lines of their own lanes alone inside, with ends of rows in the middle of a lane, and next to nothing."""


def fits(window: Window, size: tuple[int, int]) -> bool:
    padded = [size[axis] + window.pads[axis] + window.pads[axis + 2] for axis in (0, 1)]
    reach = [(window.kernel[axis] - 1) * window.dilation[axis] + 1 for axis in (0, 1)]
    return all(have >= need for have, need in zip(padded, reach, strict=True))


def depthwise(window: Window, channels: int, multiplier: int, acts: tuple[Act, Act] = (NONE, NONE)) -> Program:
    """A convolution, and a second one with its input's plane that adds it."""
    outputs = channels * multiplier
    constants = (
        Weight("dense", "f32", (outputs, 1, *window.kernel), None, 1),
        Weight("dense", "f32", (outputs,), None, 2),
    )
    first = Conv(0, 0, 1, window, channels, None, acts[0])
    second = Conv(0, 0, None, window, channels, 1, acts[1])
    return Program(1, constants, (Load(0, channels), first, second), (Output(1), Output(2)))


@pytest.mark.parametrize("window", WINDOWS)
def test_depthwise(kernels: Path, window: str) -> None:
    rng = np.random.default_rng(0)
    for number, size in enumerate(size for size in SIZES if fits(WINDOWS[window], size)):
        program = depthwise(WINDOWS[window], (10, 3, 17)[number % 3], 1 + number % 2, (Act("relu"), Act("silu")))
        x = rng.standard_normal((1 + number % 2, program.instructions[0].channels, *size)).astype(np.float32)
        hold(program, random_constants(program, rng, 0.2), [x], kernels)


@pytest.mark.parametrize("act", [Act("leaky", (0.1,)), Act("clip", (-0.5, 6.0)), Act("hardswish"), Act("gelu")])
def test_activations(kernels: Path, act: Act) -> None:
    rng = np.random.default_rng(1)
    program = depthwise(WINDOWS["3x3"], 6, 1, (act, act))
    hold(
        program, random_constants(program, rng, 0.0), [rng.standard_normal((2, 6, 21, 30)).astype(np.float32)], kernels
    )
