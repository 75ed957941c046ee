"""Bytes on every instruction set of this machine: exactly the oracle's, and exactly ONNX Runtime's QLinearConv."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_deploy.kernels.program.ops.add import QAdd
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.ops.slice import Slice
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse
from lth_deploy.kernels.program.values import Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.drawn_inputs import SLOW_MACHINE, ZEROS, drawn_pictures, reach
from tests.kernels.held import hold, hold_on_all
from tests.kernels.quantized_programs import EVERY_QUANTIZED, numbered, quantized, quantized_programs
from tests.kernels.region_models import model_of, open_model, random_constants, run_model
from tests.kernels.region_programs import acts
from tests.kernels.stock_quantized import stock_qconv, stock_quantize

ONE, THREE = Window(), Window((3, 3), (1, 1), (1, 1, 1, 1))
DOWN, SEVEN = Window((3, 3), (2, 2), (1, 1, 1, 1)), Window((7, 7), (2, 2), (3, 3, 3, 3))
STRUCTURES = {"single": None, "in4": (1, 4), "2x4": (2, 4), "dense": None}


@st.composite
def layers(draw: st.DrawFn) -> Program:
    """One convolution of any kind to bytes, with a residual, and to floats."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    quad = 4 if groups > 1 else 1
    inputs = groups * quad * draw(st.integers(1, 24))
    outputs = groups * quad * draw(st.integers(1, 12))
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (7, 7), (5, 5), (1, 3), (2, 2), (4, 3)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 3)]))
    reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
    pads = tuple(draw(st.integers(0, min(reach[axis % 2], 6))) for axis in range(4))
    window = Window(kernel, stride, pads, dilation)  # type: ignore[arg-type]
    constants = [
        Weight("dense", "s8", (outputs, inputs // groups, *kernel), None, 1),
        Weight("dense", "f32", (outputs,), None, 2),
    ]
    bias = 2 if draw(st.booleans()) else None
    if bias is not None:
        constants.append(Weight("dense", "s32", (outputs,), None, 3))
    first = QConv(1, 0, 1, bias, window, groups, None, draw(acts()), draw(quantized()))
    second = dataclasses.replace(first, add=2, act=draw(acts()), out=draw(quantized()))
    third = dataclasses.replace(first, act=draw(acts()), out=None)
    steps = (Load(0, inputs), Quantize(0, draw(quantized())), first, second, third, Dequantize(2), Dequantize(3))
    return Program(1, tuple(constants), steps, (Output(5), Output(6), Output(4)))


@SLOW_MACHINE
@given(program=layers(), data=st.data())
def test_a_layer_of_any_kind(program: Program, data: st.DataObject, instruction_sets: dict[str, Path]) -> None:
    window = next(step.window for step in program.instructions if isinstance(step, QConv))
    rng, inputs = drawn_pictures(program, data, most=2, least=reach(window), more=40)
    weights = random_constants(program, rng, data.draw(ZEROS), data.draw(st.booleans()))
    hold_on_all(program, weights, inputs, instruction_sets)


@st.composite
def transposed_layers(draw: st.DrawFn) -> Program:
    """A transposed convolution of any kind to bytes, and to floats."""
    inputs, outputs = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    kernel = draw(st.sampled_from([(1, 1), (2, 2), (2, 2), (3, 3), (1, 2), (4, 1), (8, 5)]))
    constants = [
        Weight("dense", "s8", (inputs, outputs, *kernel), None, 1),
        Weight("dense", "f32", (outputs,), None, 2),
    ]
    bias = 2 if draw(st.booleans()) else None
    if bias is not None:
        constants.append(Weight("dense", "s32", (outputs,), None, 3))
    first = QConvTranspose(1, 0, 1, bias, kernel, draw(acts()), draw(quantized()))
    second = dataclasses.replace(first, act=draw(acts()), out=None)
    steps = (Load(0, inputs), Quantize(0, draw(quantized())), first, second, Dequantize(2))
    return Program(1, tuple(constants), steps, (Output(4), Output(3)))


@SLOW_MACHINE
@given(program=transposed_layers(), data=st.data())
def test_a_transposed_layer_of_any_kind(
    program: Program, data: st.DataObject, instruction_sets: dict[str, Path]
) -> None:
    rng, inputs = drawn_pictures(program, data, most=4, more=20)
    weights = random_constants(program, rng, data.draw(ZEROS), data.draw(st.booleans()))
    hold_on_all(program, weights, inputs, instruction_sets)


@SLOW_MACHINE
@given(program=quantized_programs(), data=st.data())
def test_programs_of_many_instructions(
    program: Program, data: st.DataObject, instruction_sets: dict[str, Path]
) -> None:
    rng, inputs = drawn_pictures(program, data, most=2, more=32)
    hold_on_all(program, random_constants(program, rng, 0.6), inputs, instruction_sets)


def test_every_instruction_and_every_coding(kernels: Path) -> None:
    program = parse(EVERY_QUANTIZED)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((2, 3, 37, 50)), rng.standard_normal((11, 16))]
    hold(program, random_constants(program, rng, 0.7), [array.astype(np.float32) for array in inputs], kernels)


CONVOLUTIONS = [
    (THREE, 40, 24, 1),
    (DOWN, 40, 24, 1),
    (ONE, 64, 36, 1),
    (SEVEN, 3, 24, 1),
    (SEVEN, 8, 24, 1),
    (THREE, 24, 24, 3),
    (Window((5, 2), (1, 3), (2, 1, 0, 1), (1, 2)), 12, 8, 1),
]


@pytest.mark.parametrize("size", [(80, 80), (37, 50), (13, 13), (7, 5)])
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("number", range(len(CONVOLUTIONS)))
def test_a_convolution_is_qlinearconv(kernels: Path, number: int, structure: str, size: tuple[int, int]) -> None:
    window, inputs, outputs, groups = CONVOLUTIONS[number]
    rng = np.random.default_rng(number)
    of_x, out = [(Quantized(0.02, 128), Quantized(0.09, 0)), (Quantized(0.05, 3), Quantized(0.07, 131))][number % 2]
    act = Act("relu") if out.zero == 0 else Act()
    block = STRUCTURES[structure] if inputs % 4 == 0 else None
    weights = numbered(
        ("dense" if structure == "dense" else "bitmask", "s8", (outputs, inputs // groups, *window.kernel), block),
        ("dense", "f32", (outputs,), None),
        ("dense", "s32", (outputs,), None),
    )
    conv = QConv(1, 0, 1, 2, window, groups, None, act, out)
    program = Program(1, weights, (Load(0, inputs), Quantize(0, of_x), conv, Dequantize(2)), (Output(3),))
    constants = random_constants(program, rng, 0.0 if structure == "dense" else 0.8)
    x = rng.standard_normal((1, inputs, *size)).astype(np.float32)
    (found,) = run_model(open_model(model_of(program, constants), kernels), [x])
    theirs = stock_qconv(stock_quantize(x, of_x), of_x, constants, conv)  # type: ignore[arg-type]
    assert np.array_equal(found, (theirs.astype(np.float32) - out.zero) * np.float32(out.scale))
    assert len(np.unique(theirs)) > 5


@pytest.mark.parametrize("scale", [0.0171, 1e-12, 1e12, 3.0, 0.33333334, 0.0039215689, 1.1754944, 7.0000005])
def test_quantizing_rounds_quotients_as_a_division_does(kernels: Path, scale: float) -> None:
    """Values within a few units in the last place of what lies between two steps, and those that are far beyond all."""
    steps_of = (Load(0, 8), Quantize(0, Quantized(float(f"{scale:.9g}"), 100)), Dequantize(1))
    program, s = Program(1, (), steps_of, (Output(2),)), np.float32(scale)
    steps = np.arange(-600, 600, dtype=np.float64).repeat(9) / 2
    near = (steps * float(s)).astype(np.float32)
    ulps = np.tile(np.arange(-4, 5), 1200) * np.spacing(np.abs(near))
    random = np.random.default_rng(0).standard_normal(8 * 48 * 48 - len(near) - 4) * 90 * float(s)
    ends = [np.inf, -np.inf, 3e38, -3e38]
    x = np.concatenate([near + ulps, random, ends]).astype(np.float32).reshape(1, 8, 48, 48)
    (found,) = run_model(open_model(model_of(program, []), kernels), [x])
    with np.errstate(over="ignore"):
        wanted = np.clip(np.rint(x / s) + 100, 0, 255).astype(np.float32)
    np.testing.assert_array_equal(found, (wanted - 100) * s)


@pytest.mark.parametrize("size", [(320, 320), (160, 120), (52, 52), (13, 13), (1, 1)])
@pytest.mark.parametrize("structure", ["2x4", "single"])
def test_the_stem_and_the_block_of_a_resnet(kernels: Path, size: tuple[int, int], structure: str) -> None:
    block = STRUCTURES[structure]
    dims = [(32, 3, 7, 7), (32, 32, 3, 3), (48, 32, 3, 3), (48, 32, 1, 1), (32, 48, 1, 1)]
    parts = [("dense" if shape[1] == 3 else "gaps4", "s8", shape, None if shape[1] == 3 else block) for shape in dims]
    rows = [[part, ("dense", "f32", part[2][:1], None), ("dense", "s32", part[2][:1], None)] for part in parts]
    constants = numbered(*(part for row in rows for part in row))
    relu, q = Act("relu"), [Quantized(scale, 0) for scale in (0.0317, 0.0291, 0.0553, 0.0402)]
    steps = (
        Load(0, 3),
        Quantize(0, Quantized(0.0171, 128)),
        QConv(1, 0, 1, 2, SEVEN, 1, None, relu, q[0]),
        MaxPool(2, DOWN),
        QConv(3, 3, 4, 5, THREE, 1, 3, relu, q[1]),
        QConv(4, 9, 10, 11, Window((1, 1), (2, 2)), 1, None, Act(), Quantized(0.041, 120)),
        QConv(4, 6, 7, 8, DOWN, 1, 5, relu, q[2]),
        QConv(6, 12, 13, 14, ONE, 1, None, Act(), Quantized(0.02, 128)),
        Resize(7, 4),
        QAdd(8, 4, Act("silu"), Quantized(0.03, 5)),
        Slice(9, 4, 30),
        Dequantize(10),
        Dequantize(6),
    )
    program = Program(1, constants, steps, (Output(11), Output(12)))
    rng = np.random.default_rng(1)
    hold(program, random_constants(program, rng, 0.8), [rng.standard_normal((1, 3, *size)).astype(np.float32)], kernels)


# 200 regions of 24 channels have more phases than are held at once.
@pytest.mark.parametrize(("regions", "size"), [(9, (14, 14)), (200, (14, 14)), (200, (9, 17))])
@pytest.mark.parametrize("outputs", [24, 22])
def test_a_mask_head_over_many_regions(kernels: Path, outputs: int, regions: int, size: tuple[int, int]) -> None:
    parts = [((24, 24, 3, 3), 24), ((24, outputs, 2, 2), outputs), ((5, outputs, 1, 1), 5)]
    rows = [
        [("bitmask", "s8", dims, None), ("dense", "f32", (made,), None), ("dense", "s32", (made,), None)]
        for dims, made in parts
    ]
    relu = Act("relu")
    steps = (
        Load(0, 24),
        Quantize(0, Quantized(0.0171, 128)),
        QConv(1, 0, 1, 2, THREE, 1, None, relu, Quantized(0.0317, 0)),
        QConvTranspose(2, 3, 4, 5, (2, 2), relu, Quantized(0.0291, 0)),
        QConv(3, 6, 7, 8, ONE, out=Quantized(0.0553, 120)),
        Dequantize(4),
    )
    program = Program(1, numbered(*(part for row in rows for part in row)), steps, (Output(5),))
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((regions, 24, *size)).astype(np.float32)]
    hold(program, random_constants(program, rng, 0.8), inputs, kernels)


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_box_heads(kernels: Path, rows: int) -> None:
    constants = numbered(
        ("bitmask", "s8", (40, 72), (2, 4)), ("dense", "f32", (40,), None), ("dense", "s32", (40,), None)
    )
    conv = QConv(1, 0, 1, 2, ONE, 1, None, Act("relu"), Quantized(0.05, 0))
    steps = (Load(0, 72, True), Quantize(0, Quantized(0.02, 100)), conv, Dequantize(2))
    program = Program(1, constants, steps, (Output(3, True),))
    rng = np.random.default_rng(2)
    hold(program, random_constants(program, rng, 0.8), [rng.standard_normal((rows, 72)).astype(np.float32)], kernels)


def test_threads_and_pictures_change_nothing(kernels: Path) -> None:
    program = parse(EVERY_QUANTIZED)
    rng = np.random.default_rng(4)
    model = model_of(program, random_constants(program, rng, 0.7))
    x = [rng.standard_normal((3, 3, 70, 90)).astype(np.float32), rng.standard_normal((50, 16)).astype(np.float32)]
    alone, together = open_model(model, kernels), open_model(model, kernels, threads=4)
    once = run_model(alone, x)
    for one, other in zip(once, run_model(together, x), strict=True):
        assert np.array_equal(one, other)
    second = run_model(together, [x[0][1:2], x[1]])
    assert all(np.array_equal(part, whole[1:2]) for part, whole in zip(second[:3], once[:3], strict=True))
    nothing = run_model(alone, [x[0][:0], x[1][:0]])
    assert [output.shape for output in nothing] == [(0, *output.shape[1:]) for output in once]
