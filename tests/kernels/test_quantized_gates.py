"""Products, means and pads of quantized tensors, beside the oracle and ONNX Runtime, on every instruction set."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold, hold_on_all, of_version
from tests.kernels.stock_node import Array, stock

HEAD = """\
lth_region 5
inputs 2
t0 = load 0 channels={channels}
t1 = load 1 channels={channels}
t2 = quantize t0 out=u8:0.0351:131
"""
GATE = HEAD + "t3 = qgate t2 t1 act={act} out=u8:0.0213:{zero}\nt4 = dequantize t3\noutput t4\n"
PRODUCT = (
    HEAD
    + "t3 = quantize t1 out=u8:0.0273:116\nt4 = qmultiply t2 t3 act={act} out=u8:0.0402:{zero}\n"
    + "t5 = dequantize t4\noutput t5\n"
)
MEAN = """\
lth_region 5
inputs 1
t0 = load 0 channels={channels}
t1 = quantize t0 out=u8:0.0351:131
t2 = qglobalaveragepool t1 act={act} out=u8:0.0023:{zero}
t3 = dequantize t2
output t3
"""
WINDOWS = """\
lth_region 5
inputs 1
t0 = load 0 channels={channels}
t1 = quantize t0 out=u8:0.0351:131
t2 = qpad t1 pads={pads}
t3 = qaveragepool t2 kernel={kernel} stride={stride} pads={inner} dilation=1,1 include_pads={count} out=u8:0.0271:{zero}
t4 = dequantize t3
t5 = dequantize t2
output t4
output t5
"""
_NUMBERS = {0: "", 1: ":0.1", 2: ":-0.5:0.75"}
SIZES = [(8, 16), (7, 5), (1, 1), (33, 18)]


def noise(*shape: int, seed: int = 0) -> Array:
    return (2 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def act_of(kind: str) -> str:
    return kind + _NUMBERS[ACTIVATIONS[kind].numbers]


def rounded(x: Array, scale: float, zero: int) -> Array:
    """QuantizeLinear and DequantizeLinear."""
    stored = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255)
    return ((stored - zero) * np.float32(scale)).astype(np.float32)


def assert_rare(found: Array, wanted: Array, step: float) -> None:
    """Equal up to the rare values at which float32 cannot decide."""
    assert found.shape == wanted.shape
    assert np.mean(found != wanted) < 1e-3
    assert np.abs(found - wanted).max() <= 1.001 * step


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_every_activation(kernels: Path, kind: str) -> None:
    for size in SIZES:
        x, y, factors = noise(2, 6, *size), noise(2, 6, *size, seed=1), noise(2, 6, 1, 1, seed=2)
        hold(parse(of_version(GATE.format(channels=6, act=act_of(kind), zero=9), kind)), [], [x, factors], kernels)
        hold(parse(of_version(PRODUCT.format(channels=6, act=act_of(kind), zero=90), kind)), [], [x, y], kernels)
        hold(parse(of_version(MEAN.format(channels=6, act=act_of(kind), zero=120), kind)), [], [x], kernels)


def test_every_instruction_set(instruction_sets: dict[str, Path]) -> None:
    for size in SIZES:
        x, y, factors = noise(2, 11, *size), noise(2, 11, *size, seed=1), noise(2, 11, 1, 1, seed=2)
        for act in ("none", "hardswish", "silu"):
            hold_on_all(parse(GATE.format(channels=11, act=act, zero=9)), [], [x, factors], instruction_sets)
            hold_on_all(parse(PRODUCT.format(channels=11, act=act, zero=90)), [], [x, y], instruction_sets)
            hold_on_all(parse(MEAN.format(channels=11, act=act, zero=120)), [], [x], instruction_sets)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(
    ("pads", "kernel", "stride", "inner"),
    [
        ("0,0,0,0", "2,2", "2,2", "0,0,0,0"),
        ("1,0,2,3", "3,3", "1,1", "1,1,1,1"),
        ("0,1,0,1", "3,2", "2,1", "1,0,2,1"),
        ("14,0,3,0", "15,15", "3,2", "7,7,7,7"),
    ],
)
def test_windows(
    instruction_sets: dict[str, Path], pads: str, kernel: str, stride: str, inner: str, include: int
) -> None:
    text = WINDOWS.format(channels=7, pads=pads, kernel=kernel, stride=stride, inner=inner, count=include, zero=110)
    for size in [(21, 18), (16, 32)]:
        hold_on_all(parse(text), [], [noise(2, 7, *size)], instruction_sets)


def test_a_gate_is_what_onnx_runtime_computes() -> None:
    x, factors = noise(1, 6, 40, 50), np.abs(noise(1, 6, 1, 1, seed=2))
    (swished,) = stock("HardSwish", [rounded(x, 0.0351, 131)])
    (product,) = stock("Mul", [swished, factors])
    (found,) = run(parse(GATE.format(channels=6, act="hardswish", zero=9)), [], [x, factors])
    assert_rare(found, rounded(product, 0.0213, 9), 0.0213)


def test_a_product_is_what_onnx_runtime_computes() -> None:
    x, y = noise(1, 6, 40, 50), noise(1, 6, 40, 50, seed=1)
    (gate,) = stock("Sigmoid", [rounded(y, 0.0273, 116)])
    (product,) = stock("Mul", [rounded(x, 0.0351, 131), gate])
    (found,) = run(parse(PRODUCT.format(channels=6, act="sigmoid", zero=100)), [], [x, y])
    assert_rare(found, rounded(product, 0.0402, 100), 0.0402)


def test_a_mean_is_what_onnx_runtime_computes() -> None:
    x = noise(4, 600, 5, 7)
    (swished,) = stock("HardSwish", [rounded(x, 0.0351, 131)])
    (mean,) = stock("GlobalAveragePool", [swished])
    (found,) = run(parse(MEAN.format(channels=600, act="hardswish", zero=3)), [], [x])
    assert_rare(found, rounded(mean, 0.0023, 3), 0.0023)


def test_windows_are_what_onnx_runtime_computes() -> None:
    x = rounded(noise(1, 7, 40, 50), 0.0351, 131)
    text = WINDOWS.format(channels=7, pads="0,0,0,0", kernel="3,3", stride="2,2", inner="1,1,1,1", count=0, zero=110)
    (mean,) = stock("AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    found, same = run(parse(text), [], [x])
    assert_rare(found, rounded(mean, 0.0271, 110), 0.0271)
    assert np.array_equal(same, x)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("qmultiply t2 t1 act=relu out=u8:0.1:0", "takes quantized tensors"),
        ("qmultiply t2 t4 act=relu out=u8:0.1:0", "channels"),
        ("qmultiply t2 t3 act=relu out=f32", "out=u8"),
        ("qgate t2 t3 act=relu out=u8:0.1:0", "its second argument is float32"),
        ("qgate t1 t1 act=relu out=u8:0.1:0", "its first argument is quantized"),
        ("qgate t4 t1 act=relu out=u8:0.1:0", "channels"),
        ("qglobalaveragepool t1 act=none out=u8:0.1:0", "takes quantized tensors"),
        ("qpad t2 pads=0,0,15,0", "allowed are 0 to 14"),
        ("qpad t1 pads=0,0,1,0", "takes quantized tensors"),
    ],
)
def test_bad_operands_are_refused(step: str, message: str) -> None:
    head = HEAD.format(channels=6) + "t3 = quantize t1 out=u8:0.0273:116\nt4 = slice t3 from=0 to=4\n"
    tail = "t6 = dequantize t5\nt7 = dequantize t4\noutput t6\noutput t7\n"
    with pytest.raises(ArtifactError, match=message):
        parse(f"{head}t5 = {step}\n{tail}")


@pytest.mark.parametrize("text", [GATE, PRODUCT, MEAN])
def test_an_older_version_does_not_have_it(text: str) -> None:
    older = text.format(channels=6, act="relu", zero=0).replace("lth_region 5", "lth_region 4")
    with pytest.raises(ArtifactError, match="write it as 'lth_region 5'"):
        parse(older)


def test_factors_with_more_pixels_are_refused(kernels: Path) -> None:
    program = parse(GATE.format(channels=6, act="none", zero=0))
    for shape in [(2, 6, 1, 2), (1, 6, 1, 1)]:
        with pytest.raises(Exception, match="one pixel for each image"):
            hold(program, [], [noise(2, 6, 3, 4), noise(*shape)], kernels)
