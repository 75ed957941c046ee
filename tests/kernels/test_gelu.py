"""GELU, exact and by tanh: the oracle beside ONNX Runtime, and every kernel within the oracle's bound."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from onnx import helper

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, random_constants, run_model

KINDS = {"gelu": "none", "gelu_tanh": "tanh"}

ALONE = "lth_region 2\ninputs 1\nt0 = load 0 channels=4\nt1 = act t0 act={kind}\noutput t1\n"

FUSED = """\
lth_region 2
inputs 1
weight dense f32 8,4,3,3 at 1
weight dense s8 8,8,1,1 at 2
weight dense f32 8 at 3
weight dense f32 8,8,2,2 at 4
t0 = load 0 channels=4
t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act={kind}
t2 = add t1 t1 act={kind}
t3 = quantize t2 out=u8:0.02:20
t4 = qconv t3 w1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act={kind} out=u8:0.02:17
t5 = qadd t4 t3 act={kind} out=u8:0.03:10
t6 = requantize t5 act={kind} out=u8:0.02:12
t7 = dequantize t6
t8 = qconv t3 w1 w2 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act={kind} out=f32
t9 = convtranspose t1 w3 - kernel=2,2 stride=2,2 act={kind}
output t7
output t8
output t9
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_is_what_onnx_runtime_computes(kind: str) -> None:
    import onnxruntime

    node = helper.make_node("Gelu", ["x"], ["y"], approximate=KINDS[kind])
    values = [helper.make_tensor_value_info(name, 1, None) for name in "xy"]
    graph = helper.make_graph([node], "gelu", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.linspace(-9, 9, 4000, dtype=np.float32).reshape(1, 4, 20, 50)
    (found,) = run(parse(ALONE.format(kind=kind)), [], [x])
    np.testing.assert_allclose(found, session.run(None, {"x": x})[0], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_keeps_the_bound(kernels: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    alone = parse(ALONE.format(kind=kind))
    wide = np.concatenate([np.linspace(-12, 12, 2000), [0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 3e38, -3e38]])
    hold(alone, [], [np.resize(wide, (1, 4, 23, 24)).astype(np.float32)], kernels)
    fused = parse(FUSED.format(kind=kind))
    weights = random_constants(fused, rng, 0.5)
    hold(fused, weights, [rng.standard_normal((2, 4, 19, 21)).astype(np.float32)], kernels)


@cache
def swept(kind: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Every 2^13th float32 below 32 in magnitude, many of each order, and what is exact for them."""
    bits = np.arange(0, np.float32(32).view(np.uint32), 1 << 13, dtype=np.uint32)
    x = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    x = x[: x.size // 4 * 4].reshape(1, 4, 1, -1)
    wide = x.astype(np.float64)
    if kind == "gelu_tanh":
        return x, wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    return x, wide / 2 * np.frompyfunc(math.erfc, 1, 1)(-wide / math.sqrt(2)).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_every_kernel_is_below_three_ulp(kernels: Path, kind: str) -> None:
    x, exact = swept(kind)
    (found,) = run_model(open_model(model_of(parse(ALONE.format(kind=kind)), []), kernels), [x])
    ulp = 2.0**-23 * np.maximum(np.abs(x.astype(np.float64)), 1)
    assert np.max(np.abs(found - exact) / ulp) < 3


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_version_2(kind: str) -> None:
    with pytest.raises(ArtifactError, match=r"line 1.*write it as 'lth_region 2'"):
        parse(ALONE.format(kind=kind).replace("lth_region 2", "lth_region 1"))
    with pytest.raises(ArtifactError, match=r"line 4.*malformed"):
        parse(ALONE.format(kind=f"{kind}:1"))
