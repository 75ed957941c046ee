"""Every kernel on every instruction set of this machine, held to the float64 oracle within its forward error bound."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.add import Add
from lth_deploy.kernels.program.ops.conv import Conv
from lth_deploy.kernels.program.ops.conv_transpose import ConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.max_pool import MaxPool
from lth_deploy.kernels.program.ops.resize import Resize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse
from lth_deploy.kernels.program.values import Act, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.drawn_inputs import SLOW_MACHINE, ZEROS, drawn_pictures, reach
from tests.kernels.held import hold, hold_on_all
from tests.kernels.region_models import model_of, open_model, random_constants, run_model
from tests.kernels.region_programs import EVERY_INSTRUCTION, acts, programs


@st.composite
def layers(draw: st.DrawFn) -> Program:
    """One convolution of any kind, with and without a residual of its own input's shape."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    inputs = groups * draw(st.integers(1, 40))
    outputs = groups * draw(st.integers(1, 24))
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (7, 7), (5, 5), (1, 3), (2, 2), (4, 3)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 3)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 3)]))
    reach = [(kernel[axis] - 1) * dilation[axis] for axis in (0, 1)]
    pads = tuple(draw(st.integers(0, min(reach[axis % 2], 6))) for axis in range(4))
    window = Window(kernel, stride, pads, dilation)  # type: ignore[arg-type]
    dims = (outputs, inputs // groups, *kernel)
    bias = 1 if draw(st.booleans()) else None
    constants = [Weight("dense", "f32", dims, None, 1)] + (
        [Weight("dense", "f32", (outputs,), None, 2)] if bias else []
    )
    first = Conv(0, 0, bias, window, groups, None, draw(acts()))
    second = dataclasses.replace(first, add=1, act=draw(acts()))
    return Program(1, tuple(constants), (Load(0, inputs), first, second), (Output(2),))


@SLOW_MACHINE
@given(program=layers(), data=st.data())
def test_a_layer_of_any_kind(program: Program, data: st.DataObject, instruction_sets: dict[str, Path]) -> None:
    window = next(step.window for step in program.instructions if isinstance(step, Conv))
    rng, inputs = drawn_pictures(program, data, most=2, least=reach(window), more=40)
    weights = random_constants(program, rng, data.draw(ZEROS), data.draw(st.booleans()))
    hold_on_all(program, weights, inputs, instruction_sets)


@SLOW_MACHINE
@given(program=programs(), data=st.data())
def test_programs_of_many_instructions(
    program: Program, data: st.DataObject, instruction_sets: dict[str, Path]
) -> None:
    rng, inputs = drawn_pictures(program, data, most=2, more=32)
    hold_on_all(program, random_constants(program, rng, 0.6), inputs, instruction_sets)


def test_every_instruction_and_every_coding(kernels: Path) -> None:
    program = parse(EVERY_INSTRUCTION)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((2, 3, 37, 50)), rng.standard_normal((11, 16))]
    hold(program, random_constants(program, rng, 0.7), [array.astype(np.float32) for array in inputs], kernels)


@pytest.mark.parametrize("size", [(320, 320), (160, 120), (52, 52), (13, 13), (5, 7), (1, 1)])
@pytest.mark.parametrize("paired", [False, True])
def test_the_stem_and_the_block_of_a_resnet(kernels: Path, size: tuple[int, int], paired: bool) -> None:
    seven, three = Window((7, 7), (2, 2), (3, 3, 3, 3)), Window((3, 3), (1, 1), (1, 1, 1, 1))
    pool, down = Window((3, 3), (2, 2), (1, 1, 1, 1)), Window((3, 3), (2, 2), (1, 1, 1, 1))
    relu = Act("relu")
    dims = [(32, 3, 7, 7), (32,), (32, 32, 3, 3), (48, 32, 3, 3), (48, 32, 1, 1), (32, 48, 1, 1)]
    constants = tuple(Weight("dense", "f32", shape, None, 1 + number) for number, shape in enumerate(dims))
    steps = (
        Load(0, 3),
        Conv(0, 0, 1, seven, 1, None, relu),
        MaxPool(1, pool),
        Conv(2, 2, None, three, 1, 2, relu),
        Conv(3, 4, None, Window((1, 1), (2, 2))),
        Conv(3, 3, None, down, 1, 4, relu),
        Conv(5, 5),
        Resize(6, 3),
        Activate(7, Act("silu")),
    )
    program = Program(1, constants, steps, (Output(8), Output(5)))
    rng = np.random.default_rng(1)
    weights = random_constants(program, rng, 0.8, paired)
    hold(program, weights, [rng.standard_normal((1, 3, *size)).astype(np.float32)], kernels)


@pytest.mark.parametrize("how", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (13, 13), (26, 20), (64, 48)])
def test_bilinear_means(kernels: Path, size: tuple[int, int], how: Literal["half_pixel", "asymmetric"]) -> None:
    steps = (Load(0, 3), Load(1, 1), Resize(0, 1, how), Activate(2, Act("leaky", (0.1,))))
    program = Program(2, (), steps, (Output(3),))
    rng = np.random.default_rng(7)
    height, width = size
    halves = ((height + 1) // 2, (width + 1) // 2)
    for plane in ((2 * height, 2 * width), halves, (3 * height, width), (2 * height + 1, 2 * width - 1), (7, 31)):
        inputs = [rng.standard_normal((2, 3, *size)), rng.standard_normal((2, 1, *plane))]
        hold(program, [], [array.astype(np.float32) for array in inputs], kernels)


@pytest.mark.parametrize("rows", [1, 7, 8, 100, 1000])
def test_box_heads(kernels: Path, rows: int) -> None:
    constants = (Weight("bitmask", "f32", (40, 70), 1, 2), Weight("dense", "f32", (40,), None, 3))
    steps = (Load(0, 70, True), Conv(0, 0, 1, act=Act("relu")))
    program = Program(1, constants, steps, (Output(1, True),))
    rng = np.random.default_rng(2)
    hold(program, random_constants(program, rng, 0.8), [rng.standard_normal((rows, 70)).astype(np.float32)], kernels)


# 50 regions of 24 channels have more phases than are held at once.
@pytest.mark.parametrize(("regions", "size"), [(9, (14, 14)), (50, (14, 14)), (50, (16, 16)), (50, (9, 17))])
def test_a_mask_head_over_many_regions(kernels: Path, regions: int, size: tuple[int, int]) -> None:
    three = Window((3, 3), (1, 1), (1, 1, 1, 1))
    dims = [(24, 24, 3, 3), (24,), (24, 24, 2, 2), (5, 24, 1, 1)]
    constants = tuple(Weight("dense", "f32", shape, None, 1 + number) for number, shape in enumerate(dims))
    steps = (
        Load(0, 24),
        Conv(0, 0, 1, three, 1, None, Act("relu")),
        ConvTranspose(1, 2, 1, (2, 2), Act("relu")),
        Conv(2, 3),
    )
    program = Program(1, constants, steps, (Output(3),))
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((regions, 24, *size)).astype(np.float32)]
    hold(program, random_constants(program, rng, 0.8), inputs, kernels)


def test_heads_without_a_region_make_empty_outputs(kernels: Path) -> None:
    three = Window((3, 3), (1, 1), (1, 1, 1, 1))
    mask = (Weight("dense", "f32", (8, 8, 3, 3), None, 1),)
    head = Program(1, mask, (Load(0, 8), Conv(0, 0, None, three)), (Output(1),))
    box = Program(1, (Weight("dense", "f32", (5, 9), None, 1),), (Load(0, 9, True), Conv(0, 0)), (Output(1, True),))
    rng = np.random.default_rng(6)
    for program, empty, shape in ((head, (0, 8, 14, 14), (0, 8, 14, 14)), (box, (0, 9), (0, 5))):
        session = open_model(model_of(program, random_constants(program, rng, 0.5)), kernels)
        assert run_model(session, [np.zeros(empty, np.float32)])[0].shape == shape


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("images", [0, 2])
def test_outputs_are_empty_only_where_their_own_input_is(images: int, rows: int, kernels: Path) -> None:
    """Parts of one region that share no tensor: an empty input of one part leaves the other part as it is."""
    three = Window((3, 3), (1, 1), (1, 1, 1, 1))
    constants = (Weight("dense", "f32", (8, 8, 3, 3), None, 2), Weight("dense", "f32", (5, 9), None, 3))
    steps = (Load(0, 8), Load(1, 9, True), Conv(0, 0, None, three), Conv(1, 1))
    program = Program(2, constants, steps, (Output(2), Output(3, True)))
    rng = np.random.default_rng(8)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in ((images, 8, 6, 7), (rows, 9))]
    hold(program, random_constants(program, rng, 0.5), inputs, kernels)


def test_an_empty_and_a_filled_tensor_do_not_add_up(kernels: Path) -> None:
    program = Program(2, (), (Load(0, 8), Load(1, 8), Add(0, 1)), (Output(2),))
    session = open_model(model_of(program, []), kernels)
    with pytest.raises(Exception, match="t2: one of t0 and t1 has no images, and the other has some"):
        run_model(session, [np.zeros((n, 8, 5, 5), np.float32) for n in (0, 1)])


def test_nan_in_one_picture_stays_in_its_windows(kernels: Path) -> None:
    """Lanes outside of the image hold garbage; none of it may reach a pixel."""
    three = Window((3, 3), (1, 1), (1, 1, 1, 1))
    constants = (Weight("dense", "f32", (8, 8, 3, 3), None, 1),)
    program = Program(1, constants, (Load(0, 8), Conv(0, 0, None, three), Conv(1, 0, None, three)), (Output(2),))
    rng = np.random.default_rng(4)
    session = open_model(model_of(program, random_constants(program, rng, 0.5)), kernels)
    poisoned = np.full((1, 8, 21, 19), np.nan, np.float32)
    clean = rng.standard_normal((1, 8, 21, 19)).astype(np.float32)
    first = run_model(session, [clean])
    run_model(session, [poisoned])
    again = run_model(session, [clean])
    assert np.isfinite(first[0]).all()
    np.testing.assert_array_equal(first[0], again[0])


def test_shapes_may_change_from_call_to_call_and_threads_change_nothing(kernels: Path) -> None:
    three = Window((3, 3), (1, 1), (1, 1, 1, 1))
    constants = (Weight("dense", "f32", (64, 64, 3, 3), None, 1),)
    program = Program(1, constants, (Load(0, 64), Conv(0, 0, None, three, act=Act("relu"))), (Output(1),))
    rng = np.random.default_rng(5)
    model = model_of(program, random_constants(program, rng, 0.8))
    one, two = open_model(model, kernels, threads=1), open_model(model, kernels, threads=2)
    for size in [(20, 20), (64, 48), (20, 20), (7, 90)] * 2:
        picture = [rng.standard_normal((2, 64, *size)).astype(np.float32)]
        np.testing.assert_array_equal(run_model(one, picture)[0], run_model(two, picture)[0])
