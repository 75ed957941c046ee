"""`qresidual`: a sum with the activation of one operand, beside ONNX Runtime, and on every instruction set."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold, of_version
from tests.kernels.stock_node import Array, stock

PROGRAM = """\
lth_region 4
inputs 2
t0 = load 0 channels={channels}
t1 = load 1 channels={channels}
t2 = quantize t0 out=u8:0.0351:131
t3 = quantize t1 out=u8:0.0273:116
t4 = qresidual t2 t3 act={act} out=u8:0.0402:{zero}
t5 = dequantize t4
output t5
"""

_NUMBERS = {0: "", 1: ":0.1", 2: ":-0.5:0.75"}


def inputs(channels: int, size: tuple[int, int]) -> list[Array]:
    rng = np.random.default_rng(channels)
    return [(2 * rng.standard_normal((2, channels, *size))).astype(np.float32) for _ in range(2)]


def rounded(x: Array, scale: float, zero: int) -> Array:
    """QuantizeLinear and DequantizeLinear."""
    stored = np.clip(np.rint(x / np.float32(scale)) + zero, 0, 255)
    return ((stored - zero) * np.float32(scale)).astype(np.float32)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_every_activation_on_every_instruction_set(kernels: Path, kind: str) -> None:
    act = kind + _NUMBERS[ACTIVATIONS[kind].numbers]
    program = parse(of_version(PROGRAM.format(channels=6, act=act, zero=9), kind))
    for size in [(8, 16), (7, 5)]:
        hold(program, [], inputs(6, size), kernels)


def test_the_oracle_is_what_onnx_runtime_computes() -> None:
    """Up to the rare values at which float32 cannot decide."""
    x, y = inputs(6, (40, 50))
    a, b = rounded(x, 0.0351, 131), rounded(y, 0.0273, 116)
    (gate,) = stock("Sigmoid", [b])
    (sums,) = stock("Add", [a, *stock("Mul", [b, gate])])
    wanted = rounded(sums, 0.0402, 9)
    (found,) = run(parse(PROGRAM.format(channels=6, act="silu", zero=9)), [], [x, y])
    assert np.mean(found != wanted) < 1e-3
    assert np.abs(found - wanted).max() <= 0.0403


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("qresidual t2 t1 act=relu out=u8:0.1:0", "takes quantized tensors"),
        ("qresidual t2 t4 act=relu out=u8:0.1:0", "channels"),
        ("qresidual t2 t3 act=relu out=f32", "out=u8"),
    ],
)
def test_bad_operands_are_refused(step: str, message: str) -> None:
    head = PROGRAM.format(channels=6, act="relu", zero=0).split("t4 = ")[0]
    other = "t4 = slice t3 from=0 to=4\n"
    with pytest.raises(ArtifactError, match=message):
        parse(f"{head}{other}t5 = {step}\nt6 = dequantize t5\nt7 = dequantize t4\noutput t6\noutput t7\n")


def test_an_older_version_does_not_have_it() -> None:
    text = PROGRAM.format(channels=6, act="relu", zero=0).replace("lth_region 4", "lth_region 3")
    with pytest.raises(ArtifactError, match="write it as 'lth_region 4'"):
        parse(text)
