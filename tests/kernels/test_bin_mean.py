"""Means of bins under a softmax over channels: the oracle beside ONNX Runtime, and kernels beside the oracle."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, run_model

TEXT = """\
lth_region 6
inputs 1
weight dense {kind} {bins},1 at 1
t0 = load 0 channels={channels}
t1 = binmean t0 w0 groups={groups}
output t1
"""


def program(bins: int = 16, groups: int = 4, kind: str = "f32") -> Program:
    return parse(TEXT.format(bins=bins, channels=bins * groups, groups=groups, kind=kind))


def numbers(bins: int) -> np.ndarray:
    return np.arange(bins, dtype=np.float32).reshape(-1, 1)


def stock(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Softmax over the third of five dimensions, and a sum of products."""
    import onnxruntime

    bins = len(weights)
    shapes = {"s": np.array([0, -1, bins, *x.shape[2:]]), "w": weights.reshape(-1, 1, 1), "a": np.array([2])}
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["d"]),
        helper.make_node("Softmax", ["d"], ["p"], axis=2),
        helper.make_node("Mul", ["p", "w"], ["m"]),
        helper.make_node("ReduceSum", ["m", "a"], ["y"], keepdims=0),
    ]
    given, made = (helper.make_tensor_value_info(name, 1, None) for name in "xy")
    constants = [numpy_helper.from_array(value, name) for name, value in shapes.items()]
    graph = helper.make_graph(nodes, "dfl", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("spread", [0.1, 3.0, 200.0])
def test_the_oracle_is_what_onnx_runtime_computes(spread: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 64, 5, 7)).astype(np.float32) * np.float32(spread)
    (found,) = run_bounded(program(), [numbers(16)], [x])
    # Where the runtime's own exponential is as exact as that of the kernels.
    assert (np.abs(stock(x, numbers(16)) - found.value) <= 2 * found.bound).all()
    assert found.bound.max() < 15 * (2 + spread) * 2e-6


@pytest.mark.parametrize(("bins", "groups"), [(16, 4), (17, 3), (1, 2)])
def test_every_kernel_computes_what_the_oracle_does(bins: int, groups: int, kernels: Path) -> None:
    rng = np.random.default_rng(bins)
    for size, spread in (((17, 19), 0.5), ((20, 36), 30.0), ((1, 1), 3.0), ((3, 5), 1e4)):
        x = (rng.standard_normal((2, bins * groups, *size)) * spread).astype(np.float32)
        hold(program(bins, groups), [rng.standard_normal((bins, 1)).astype(np.float32)], [x], kernels)


def test_bins_may_be_stored_as_half_floats(kernels: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 64, 9, 9)).astype(np.float32)
    hold(program(kind="f16"), [numbers(16).astype(np.float16)], [x], kernels)


def test_what_is_no_number_stays_none(kernels: Path) -> None:
    x = np.zeros((1, 32, 2, 2), np.float32)
    x[0, 3, 0, 0], x[0, 9, 0, 1], x[0, 17, 1, 0] = np.nan, np.inf, -np.inf
    (found,) = run_model(open_model(model_of(program(8), [numbers(8)]), kernels), [x])
    wanted = np.full((1, 4, 2, 2), 3.5)
    wanted[0, 0, 0, 0] = wanted[0, 1, 0, 1] = np.nan
    wanted[0, 2, 1, 0] = (28 - 1) / 7  # one bin less
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(stock(x, numbers(8)), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 6", "lth_region 5", "line 1.*lth_region 6"),
        ("groups=4", "groups=5", "line 5.*5 groups do not divide 64 channels"),
        ("groups=4", "groups=0", "line 5.*0 groups"),
        ("groups=4", "groups=8", r"line 5.*shape \[16, 1\], needed is \[8, 1\]"),
        ("16,1 at", "1,16 at", r"line 5.*shape \[1, 16\], needed is \[16, 1\]"),
        ("dense f32", "dense s8", "line 5"),
        ("load 0", "loadrows 0", "line 5.*no plane"),
    ],
)
def test_what_breaks_a_rule_is_refused(old: str, new: str, message: str) -> None:
    source = TEXT.format(bins=16, channels=64, groups=4, kind="f32")
    parse(source)
    with pytest.raises(ArtifactError, match=message):
        parse(source.replace(old, new, 1))
