"""Depthwise and grouped convolutions on every instruction set, beside the oracle."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.ops.conv import Conv, QConv, QGrouped, whole_quads
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.values import NONE, Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, random_constants, run_model
from tests.kernels.stock_quantized import stock_qconv, stock_quantize

WINDOWS = {
    "3x3": Window((3, 3), (1, 1), (1, 1, 1, 1)),
    "3x3, stride 2": Window((3, 3), (2, 2), (1, 1, 1, 1)),
    "3x3, stride 2, padded at the end": Window((3, 3), (2, 2), (0, 0, 1, 1)),
    "3x3, padded at two sides": Window((3, 3), (1, 1), (2, 0, 0, 2)),
    "5x3": Window((5, 3), (1, 1), (2, 1, 2, 1)),
    "1x3": Window((1, 3), (1, 1), (0, 1, 0, 1)),
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


@pytest.mark.parametrize("window", ["3x3", "3x3, stride 2", "3x3, stride 2, padded at the end", "5x5, stride 2", "any"])
@pytest.mark.parametrize("act", [Act("relu"), Act("hardswish"), Act("silu")])
def test_planes_that_are_turned(kernels: Path, window: str, act: Act) -> None:
    """Small planes, and those whose lanes do not agree, of fewer channels than lanes and of more, with no residual."""
    rng = np.random.default_rng(4)
    for channels, size in ((3, (52, 50)), (17, (27, 26)), (16, (13, 9)), (33, (20, 1)), (21, (2, 23))):
        if not fits(WINDOWS[window], size):
            continue
        constants = (
            Weight("dense", "f32", (channels, 1, *WINDOWS[window].kernel), None, 1),
            Weight("dense", "f32", (channels,), None, 2),
        )
        steps = (Load(0, channels), Conv(0, 0, 1, WINDOWS[window], channels, None, act))
        program = Program(1, constants, steps, (Output(1),))
        x = rng.standard_normal((2, channels, *size)).astype(np.float32)
        hold(program, random_constants(program, rng, 0.1), [x], kernels)


OF_X, OUT = Quantized(0.02, 120), Quantized(0.07, 131)


def quantized(
    window: Window, channels: int, outputs: int, groups: int, acts: tuple[Act, Act] = (NONE, NONE), add: bool = True
) -> Program:
    """A layer between quantized tensors, a second one that adds its result, and a third one that makes floats."""
    dims = (outputs, channels // groups, *window.kernel)
    constants = (
        Weight("dense", "s8", dims, None, 1),
        Weight("dense", "f32", (outputs,), None, 2),
        Weight("dense", "s32", (outputs,), None, 3),
    )
    layer = QConv if whole_quads(groups, dims) else QGrouped
    first = layer(1, 0, 1, 2, window, groups, None, acts[0], OUT)
    second = layer(1, 0, 1, None, window, groups, 2 if add else None, acts[1], Quantized(0.1, 3))
    third = layer(1, 0, 1, 2, window, groups, None, acts[1], None)
    steps = (Load(0, channels), Quantize(0, OF_X), first, second, third, Dequantize(2), Dequantize(3))
    return Program(1, constants, steps, (Output(5), Output(6), Output(4)))


@pytest.mark.parametrize("window", WINDOWS)
def test_quantized_depthwise(kernels: Path, window: str) -> None:
    rng = np.random.default_rng(2)
    for number, size in enumerate(size for size in SIZES if fits(WINDOWS[window], size)):
        channels = (12, 3, 18)[number % 3]
        program = quantized(WINDOWS[window], channels, channels, channels, (Act("relu"), Act("silu")), number % 2 == 0)
        x = rng.standard_normal((1 + number % 2, channels, *size)).astype(np.float32)
        hold(program, random_constants(program, rng, 0.2), [x], kernels)


GROUPS = [(16, 32, 16), (10, 30, 10), (12, 12, 4), (12, 24, 6), (6, 9, 3), (16, 16, 4), (21, 14, 7), (20, 10, 5)]
"""Channels, outputs and groups: multipliers, and groups that begin in the middle of four channels."""


@pytest.mark.parametrize(("channels", "outputs", "groups"), GROUPS)
def test_groups_of_any_size(kernels: Path, channels: int, outputs: int, groups: int) -> None:
    rng = np.random.default_rng(3)
    for window in (WINDOWS["3x3"], WINDOWS["5x5, stride 2"], WINDOWS["1x1"]):
        x = rng.standard_normal((1, channels, 21, 30)).astype(np.float32)
        program = quantized(window, channels, outputs, groups)
        hold(program, random_constants(program, rng, 0.3), [x], kernels)
        constants = (Weight("dense", "f32", (outputs, channels // groups, *window.kernel), None, 1),)
        floats = Program(1, constants, (Load(0, channels), Conv(0, 0, None, window, groups)), (Output(1),))
        hold(floats, random_constants(floats, rng, 0.3), [x], kernels)


@pytest.mark.parametrize("window", ["3x3", "5x5, stride 2", "dilated"])
def test_it_is_qlinearconv(kernels: Path, window: str) -> None:
    rng = np.random.default_rng(4)
    program = quantized(WINDOWS[window], 10, 10, 10, add=False)
    constants = random_constants(program, rng, 0.0)
    x = rng.standard_normal((1, 10, 37, 26)).astype(np.float32)
    found, *_ = run_model(open_model(model_of(program, constants), kernels), [x])
    layer = program.instructions[2]
    assert isinstance(layer, QConv)
    theirs = stock_qconv(stock_quantize(x, OF_X), OF_X, constants, layer)  # type: ignore[arg-type]
    assert np.array_equal(found, (theirs.astype(np.float32) - OUT.zero) * np.float32(OUT.scale))
    assert len(np.unique(theirs)) > 5


def test_threads_change_nothing(kernels: Path) -> None:
    rng = np.random.default_rng(5)
    for program in (*(depthwise(WINDOWS[one], 6, 1) for one in ("5x5", "3x3")), quantized(WINDOWS["3x3"], 6, 6, 6)):
        model = model_of(program, random_constants(program, rng, 0.0))
        x = [rng.standard_normal((2, 6, 70, 64)).astype(np.float32)]
        alone, together = open_model(model, kernels), open_model(model, kernels, threads=4)
        for one, other in zip(run_model(alone, x) * 2, run_model(together, x) + run_model(together, x), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 3", "lth_region 2", "write it as 'lth_region 3'"),
        ("qgrouped t1", "qconv t1", "write it as 'lth_region 1'"),
        ("lth_region 3", "lth_region 1", "write it as 'lth_region 3'"),
        ("6,1,3,3", "8,4,3,3", "line 7.*do not divide"),
        ("groups=6", "groups=1", "line 7.*takes 1 channels"),
        ("groups=6", "groups=4", "line 7.*4 groups do not divide"),
        ("groups=6", "groups=70000", "line 7.*70000 groups do not divide"),
        ("6,1,3,3", "65537,1,3,3", "line 7.*"),
    ],
)
def test_what_breaks_a_rule_is_refused(old: str, new: str, message: str) -> None:
    source = text(
        Program(
            1,
            quantized(WINDOWS["3x3"], 6, 6, 6).weights[:2],
            (Load(0, 6), Quantize(0, OF_X), QGrouped(1, 0, 1, None, WINDOWS["3x3"], 6, None, NONE, None)),
            (Output(2),),
        )
    )
    with pytest.raises(ArtifactError, match=message):
        parse(source.replace(old, new, 1))


@pytest.mark.parametrize(("channels", "layer", "other"), [(6, QConv, "qgrouped"), (8, QGrouped, "qconv")])
def test_a_layer_has_one_name(channels: int, layer: type[QConv], other: str) -> None:
    weights = quantized(WINDOWS["3x3"], channels, channels, 2).weights[:2]
    step = layer(1, 0, 1, None, WINDOWS["3x3"], 2, None, NONE, None)
    with pytest.raises(ArtifactError, match=f"are those of a {other}"):
        text(Program(1, weights, (Load(0, channels), Quantize(0, OF_X), step), (Output(2),)))
