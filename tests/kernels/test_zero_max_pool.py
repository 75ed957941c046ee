"""Maxima over windows with zeros around the image: the oracle beside ONNX Runtime, and kernels beside the oracle."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold

WINDOWS = [
    "kernel=2,2 stride=1,1 pads=0,0,1,1 dilation=1,1",
    "kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1",
    "kernel=5,3 stride=1,3 pads=4,0,2,2 dilation=1,1",
    "kernel=3,2 stride=1,1 pads=5,2,0,4 dilation=2,5",
]


def program(window: str, quantized: bool = False) -> Program:
    steps = ["t0 = load 0 channels=5"]
    if quantized:
        steps += ["t1 = quantize t0 out=u8:0.03:77", f"t2 = zeromaxpool t1 {window}", "t3 = dequantize t2"]
    else:
        steps += [f"t1 = zeromaxpool t0 {window}"]
    return parse("\n".join(["lth_region 5", "inputs 1", *steps, f"output t{len(steps) - 1}", ""]))


def stock(x: np.ndarray, window: str) -> np.ndarray:
    """Pad with zeros and MaxPool."""
    import onnxruntime

    fields = dict(field.split("=") for field in window.split())
    kernel, strides, pads, dilations = (
        [int(one) for one in fields[name].split(",")] for name in ("kernel", "stride", "pads", "dilation")
    )
    nodes = [
        helper.make_node("Pad", ["x", "p"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=kernel, strides=strides, dilations=dilations),
    ]
    sides = helper.make_tensor("p", 7, [8], [0, 0, *pads[:2], 0, 0, *pads[2:]])
    given, made = (helper.make_tensor_value_info(name, 1, None) for name in "xy")
    graph = helper.make_graph(nodes, "pool", [given], [made], [sides])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_the_oracle_is_what_onnx_runtime_computes(window: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 17, 19)).astype(np.float32) - 1  # zeros win often
    (found,) = run(program(window), [], [x])
    np.testing.assert_array_equal(found, stock(x, window))


@pytest.mark.parametrize("quantized", [False, True])
def test_every_kernel_computes_what_the_oracle_does(kernels: Path, quantized: bool) -> None:
    rng = np.random.default_rng(1)
    for window in WINDOWS:
        for size in ((17, 19), (40, 33), (16, 32)):
            x = rng.standard_normal((2, 5, *size)).astype(np.float32) - 1
            hold(program(window, quantized), [], [x], kernels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 5", "lth_region 4", "line 1.*lth_region 5"),
        ("pads=0,0,1,1", "pads=0,0,2,1", "line 4.*pads"),
        (" dilation=1,1", "", "line 4.*dilation= is missing"),
        ("load 0", "loadrows 0", "line 4.*no plane"),
    ],
)
def test_what_breaks_a_rule_is_refused(old: str, new: str, message: str) -> None:
    source = f"lth_region 5\ninputs 1\nt0 = load 0 channels=5\nt1 = zeromaxpool t0 {WINDOWS[0]}\noutput t1\n"
    parse(source)
    with pytest.raises(ArtifactError, match=message):
        parse(source.replace(old, new, 1))
