"""The oracle for bytes against ONNX Runtime, bit for bit where the specification says so, and its rules on arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run, run_bounded
from lth_deploy.kernels.program.check_constants import check_constants
from lth_deploy.kernels.program.ops.add import QAdd
from lth_deploy.kernels.program.ops.conv import QConv
from lth_deploy.kernels.program.ops.conv_transpose import QConvTranspose
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse
from lth_deploy.kernels.program.values import Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight
from tests.kernels.quantized_programs import EVERY_QUANTIZED, quantized_programs
from tests.kernels.region_models import random_constants
from tests.kernels.stock_quantized import stock_qadd, stock_qconv, stock_quantize

ANY = Quantized(0.02, 128)


def test_every_quantized_instruction_runs() -> None:
    program = parse(EVERY_QUANTIZED)
    rng = np.random.default_rng(0)
    weights = random_constants(program, rng, 0.5)
    inputs = [rng.standard_normal((2, 3, 21, 18)).astype(np.float32), rng.standard_normal((5, 16)).astype(np.float32)]
    check_constants(program, weights.__getitem__)
    byte, real, _, wide, wide_real, rows = run_bounded(program, weights, inputs)
    assert byte.value.shape == real.value.shape == (2, 8, 11, 9)
    assert wide.value.shape == wide_real.value.shape == (2, 6, 22, 27)
    assert rows.value.shape == (5, 6)
    assert (rows.bound == 0).all()
    assert np.mean(byte.bound > 0) < 0.2


@given(quantized_programs())
@settings(max_examples=60, deadline=None)
def test_drawn_programs_run(program: Program) -> None:
    rng = np.random.default_rng(1)
    weights = random_constants(program, rng, 0.5)
    x = rng.standard_normal((1, program.instructions[0].channels, 9, 8)).astype(np.float32)  # type: ignore[union-attr]
    for tensor in run_bounded(program, weights, [x]):
        assert np.isfinite(tensor.value).all()
        assert (tensor.bound >= 0).all()


@given(st.integers(0, 2**32), st.sampled_from([ANY, Quantized(0.5, 0), Quantized(0.1, 255), Quantized(1e-12, 3)]))
@settings(max_examples=40, deadline=None)
def test_quantize_is_quantize_linear(seed: int, out: Quantized) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 3, 4, 5)).astype(np.float32) * 3
    x[0, 0, 0] = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32) * np.float32(out.scale)  # halves
    program = Program(1, (), (Load(0, 3), Quantize(0, out), Dequantize(1)), (Output(2),))
    assert np.array_equal(run(program, [], [x])[0].astype(np.float32), stock_quantize(x, out, back=True))


CASES = [
    (Window((3, 3), (1, 1), (1, 1, 1, 1)), 1, 128, ANY, Act()),
    (Window((3, 3), (2, 2), (1, 0, 1, 1)), 1, 7, Quantized(0.1, 0), Act("relu")),
    (Window((7, 7), (2, 2), (3, 3, 3, 3)), 1, 255, Quantized(0.05, 0), Act("relu")),
    (Window((1, 1), (1, 1)), 2, 0, Quantized(0.01, 255), Act()),
    (Window((2, 3), (1, 2), (0, 2, 1, 1), (2, 1)), 2, 3, Quantized(0.02, 10), Act()),
]


@pytest.mark.parametrize(("window", "groups", "zero", "out", "act"), CASES)
def test_a_convolution_is_qlinearconv(window: Window, groups: int, zero: int, out: Quantized, act: Act) -> None:
    inputs, outputs = 8 * groups, 12
    of_x = Quantized(0.02, zero)
    weights = (
        Weight("dense", "s8", (outputs, inputs // groups, *window.kernel), None, 1),
        Weight("dense", "f32", (outputs,), None, 2),
        Weight("dense", "s32", (outputs,), None, 3),
    )
    conv = QConv(1, 0, 1, 2, window, groups, None, act, out)
    program = Program(1, weights, (Load(0, inputs), Quantize(0, of_x), conv, Dequantize(2)), (Output(3),))
    rng = np.random.default_rng(2)
    constants = random_constants(program, rng, 0.2)
    x = rng.standard_normal((2, inputs, 13, 11)).astype(np.float32)
    (ours,) = run_bounded(program, constants, [x])
    theirs = stock_qconv(stock_quantize(x, of_x), of_x, constants, conv)
    assert (ours.bound == 0).all()
    scale = np.float32(out.scale)
    assert np.array_equal(ours.value.astype(np.float32), (theirs.astype(np.float32) - out.zero) * scale)
    assert len(np.unique(theirs)) > 30


@pytest.mark.parametrize(("out", "act"), [(ANY, Act()), (Quantized(0.1, 0), Act("relu"))])
def test_every_tap_of_a_transposed_convolution_is_a_qlinearconv(out: Quantized, act: Act) -> None:
    of_x = Quantized(0.02, 77)
    weights = (
        Weight("dense", "s8", (9, 6, 2, 3), None, 1),
        Weight("dense", "f32", (6,), None, 2),
        Weight("dense", "s32", (6,), None, 3),
    )
    step = QConvTranspose(1, 0, 1, 2, (2, 3), act, out)
    program = Program(1, weights, (Load(0, 9), Quantize(0, of_x), step, Dequantize(2)), (Output(3),))
    rng = np.random.default_rng(4)
    constants = random_constants(program, rng, 0.2)
    x = rng.standard_normal((2, 9, 5, 7)).astype(np.float32)
    (ours,) = run_bounded(program, constants, [x])
    assert (ours.bound == 0).all()
    assert ours.value.shape == (2, 6, 10, 21)
    conv = QConv(1, 0, 1, 2, Window(), 1, None, act, out)
    for ky in range(2):
        for kx in range(3):
            tap = constants[0][:, :, ky, kx].T[:, :, None, None]
            theirs = stock_qconv(stock_quantize(x, of_x), of_x, [tap, *constants[1:]], conv)  # type: ignore[arg-type]
            reals = (theirs.astype(np.float32) - out.zero) * np.float32(out.scale)
            assert np.array_equal(ours.value[:, :, ky::2, kx::3].astype(np.float32), reals)
            assert len(np.unique(theirs)) > 10


def test_an_addition_is_qlinearadd_to_a_step() -> None:
    rng = np.random.default_rng(3)
    a, b, out = Quantized(0.02, 100), Quantized(0.037, 3), Quantized(0.04, 60)
    x = [rng.standard_normal((1, 5, 9, 7)).astype(np.float32) * 2 for _ in range(2)]
    steps = (Load(0, 5), Load(1, 5), Quantize(0, a), Quantize(1, b), QAdd(2, 3, Act(), out), Dequantize(4))
    (ours,) = run_bounded(Program(2, (), steps, (Output(5),)), [], x)
    theirs = stock_qadd(stock_quantize(x[0], a), a, stock_quantize(x[1], b), b, out)
    found = np.rint(ours.value / np.float32(out.scale)) + out.zero
    assert np.abs(found - theirs).max() <= 1
    assert np.mean(found == theirs) > 0.99


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [(1, 0.0, "scale 0 is 0"), (1, np.nan, "nan"), (1, -1.0, "scale"), (0, -128, "-128"), (2, 2**31 - 1, "32 bits")],
)
def test_hostile_arrays_are_named(number: int, value: float, message: str) -> None:
    program = parse(EVERY_QUANTIZED)
    weights = random_constants(program, np.random.default_rng(0), 0.5)
    weights[number].reshape(-1)[0] = value
    with pytest.raises(ArtifactError, match=message):
        check_constants(program, weights.__getitem__)
