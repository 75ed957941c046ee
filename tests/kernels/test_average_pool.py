"""Means over windows: the text, the oracle beside ONNX Runtime, and every kernel within the oracle's bound."""

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
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)),
    ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    ((5, 3), (1, 3), (2, 0, 4, 2), (1, 1)),
    ((15, 15), (8, 8), (7, 7, 7, 7), (1, 1)),
    ((3, 2), (1, 1), (0, 0, 0, 0), (2, 5)),
]


def program(window: tuple[tuple[int, ...], ...], include_pads: bool, channels: int = 5) -> Program:
    fields = zip(("kernel", "stride", "pads", "dilation"), window, strict=True)
    shape = " ".join(f"{name}={','.join(map(str, values))}" for name, values in fields)
    steps = f"t0 = load 0 channels={channels}\nt1 = averagepool t0 {shape} include_pads={int(include_pads)}\n"
    return parse(f"lth_region 2\ninputs 1\n{steps}output t1\n")


def stock(x: np.ndarray, window: tuple[tuple[int, ...], ...], include_pads: bool) -> np.ndarray:
    import onnxruntime

    kernel, stride, pads, dilation = (list(values) for values in window)
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads, "dilations": dilation}
    node = helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=int(include_pads), **attributes)
    graph = helper.make_graph(
        [node], "pool", [helper.make_tensor_value_info("x", 1, None)], [helper.make_tensor_value_info("y", 1, None)]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("include_pads", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_oracle_is_what_onnx_runtime_computes(window: tuple[tuple[int, ...], ...], include_pads: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 17, 19)).astype(np.float32)
    (found,) = run(program(window, include_pads), [], [x])
    np.testing.assert_allclose(found, stock(x, window, include_pads), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("include_pads", [False, True])
def test_every_kernel_keeps_the_bound(kernels: Path, include_pads: bool) -> None:
    rng = np.random.default_rng(1)
    for window in WINDOWS:
        for size in ((17, 19), (40, 33), (15, 15)):
            x = rng.standard_normal((2, 5, *size)).astype(np.float32)
            hold(program(window, include_pads), [], [x], kernels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 2", "lth_region 1", "line 1.*lth_region 2"),
        ("include_pads=0", "include_pads=2", "line 4.*0 or 1"),
        (" include_pads=0", "", "line 4.*include_pads= is missing"),
        ("averagepool t0 kernel=3,3", "averagepool t0 kernel=16,3", "line 4.*kernel"),
        ("load 0", "loadrows 0", "line 4.*no plane"),
        ("t1 = averagepool t0", "t1 = quantize t0 out=u8:0.1:3\nt2 = averagepool t1", "line 5.*float32"),
    ],
)
def test_what_breaks_a_rule_is_refused(old: str, new: str, message: str) -> None:
    source = (
        "lth_region 2\ninputs 1\nt0 = load 0 channels=5\n"
        "t1 = averagepool t0 kernel=3,3 stride=2,2 pads=1,1,1,1 dilation=1,1 include_pads=0\noutput t1\n"
    )
    parse(source)
    with pytest.raises(ArtifactError, match=message):
        parse(source.replace(old, new, 1))


def test_version_2_belongs_to_programs_that_need_it() -> None:
    source = "lth_region 2\ninputs 1\nt0 = load 0 channels=5\nt1 = act t0 act=relu\noutput t1\n"
    with pytest.raises(ArtifactError, match="write it as 'lth_region 1'"):
        parse(source)
    with pytest.raises(ArtifactError, match=r"version 99, this lth_deploy reads versions 1 to \d+; install a newer"):
        parse(source.replace("lth_region 2", "lth_region 99"))
