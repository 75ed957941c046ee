"""The activations of version 3: the oracle beside ONNX Runtime, and every kernel within the oracle's bound."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, random_constants, run_model
from tests.kernels.stock_node import Array, stock

ALONE = "lth_region 3\ninputs 1\nt0 = load 0 channels=4\nt1 = act t0 {act}\noutput t1\n"

FUSED = """\
lth_region 3
inputs 1
weight dense f32 8,4,3,3 at 1
weight dense s8 8,8,1,1 at 2
weight dense f32 8 at 3
t0 = load 0 channels=4
t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 {act}
t2 = add t1 t1 {act}
t3 = quantize t2 out=u8:0.02:20
t4 = qconv t3 w1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 {act} out=u8:0.02:17
t5 = qadd t4 t3 {act} out=u8:0.03:10
t6 = requantize t5 {act} out=u8:0.02:12
t7 = dequantize t6
t8 = qconv t3 w1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 {act} out=f32
output t7
output t8
"""

ACTS = [
    "act=sigmoid",
    "act=hardsigmoid:0.2:0.5",
    "act=hardsigmoid:-3:0.25",
    "act=tanh",
    "act=exp",
    "act=mish",
    "act=elu:1",
    "act=elu:-2.5",
    "act=linear:0.75:-3",
    "act=linear:-2:0",
    "act=relu_linear:0.75:-3",
    "act=relu_linear:-2:0.5",
    "act=quotient:6",
    "act=quotient:-0.3",
]


def of_its_version(program: str, act: str) -> str:
    since = ACTIVATIONS[act.removeprefix("act=").partition(":")[0]].since
    return program.replace("lth_region 3", f"lth_region {since}").format(act=act)


def alone(act: str) -> Program:
    return parse(of_its_version(ALONE, act))


def number(value: float) -> Array:
    return np.array(value, np.float32)


def stock_act(act: str, x: Array) -> Array:
    kind, *numbers = act.removeprefix("act=").split(":")
    values = [float(number) for number in numbers]
    if kind == "linear":
        (scaled,) = stock("Mul", [x, number(values[0])])
        return stock("Add", [scaled, number(values[1])])[0]
    if kind == "relu_linear":
        return stock_act("act=linear:" + ":".join(numbers), stock("Relu", [x])[0])
    if kind == "quotient":
        return stock("Div", [x, number(values[0])])[0]
    if kind == "hardsigmoid":
        return stock("HardSigmoid", [x], alpha=values[0], beta=values[1])[0]
    if kind == "elu":
        return stock("Elu", [x], alpha=values[0])[0]
    return stock(kind.capitalize(), [x])[0]


@pytest.mark.parametrize("act", ACTS)
def test_the_oracle_is_what_onnx_runtime_computes(act: str) -> None:
    x = np.linspace(-20, 20, 4000, dtype=np.float32).reshape(1, 4, 20, 50)
    (found,) = run(alone(act), [], [x])
    np.testing.assert_allclose(found, stock_act(act, x), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("act", ACTS)
def test_every_kernel_keeps_the_bound(kernels: Path, act: str) -> None:
    rng = np.random.default_rng(0)
    wide = np.concatenate([np.linspace(-110, 110, 2000), [0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 1e38, -1e38]])
    hold(alone(act), [], [np.resize(wide, (1, 4, 23, 24)).astype(np.float32)], kernels)
    fused = parse(of_its_version(FUSED, act))
    weights = random_constants(fused, rng, 0.5)
    hold(fused, weights, [rng.standard_normal((2, 4, 19, 21)).astype(np.float32)], kernels)


BETWEEN_0_AND_1 = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}


@pytest.mark.parametrize("kind", BETWEEN_0_AND_1)
def test_the_absolute_error_is_below_two_ulp_of_one(kernels: Path, kind: str) -> None:
    bits = np.arange(0, np.float32(32).view(np.uint32), 1 << 14, dtype=np.uint32)
    x = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    x = x[: x.size // 4 * 4].reshape(1, 4, 1, -1)
    (found,) = run_model(open_model(model_of(parse(ALONE.format(act=f"act={kind}")), []), kernels), [x])
    assert np.max(np.abs(found - BETWEEN_0_AND_1[kind](x.astype(np.float64)))) < 2.0**-22


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("act=quotient:0", "the divisor of quotient is zero"),
        ("act=quotient:1e-46", "the divisor of quotient is zero"),
        ("act=linear:1", "the activation is malformed"),
        ("act=hardsigmoid:0.2", "the activation is malformed"),
        ("act=linear:1e+39:0", "not finite"),
        ("act=sigmoid:1", "the activation is malformed"),
    ],
)
def test_wrong_numbers_are_refused(act: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse(ALONE.format(act=act))
    old = ALONE.replace("lth_region 3", "lth_region 2").format(act="act=tanh")
    with pytest.raises(ArtifactError, match="write it as 'lth_region 3'"):
        parse(old)
