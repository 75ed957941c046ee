"""Tokens, products with a weight of [inputs, outputs] and layer norms: text, oracle and every kernel."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import Constant, model_of, open_model, random_constants, run_model

FEED_FORWARD = """\
lth_region 4
inputs 1
weight gaps4 f32 {c},{inner} at 1,2
weight dense f32 {inner} at 3
weight bitmask f16 {inner},{c} at 4,5
weight dense f32 {c} at 6
t0 = loadtokens 0 channels={c}
t1 = layernorm t0 w3 w3 epsilon=1e-05 act=none
t2 = matmul t1 w0 w1 act=gelu
t3 = matmul t2 w2 w3 add=t0 act=none
t4 = layernorm t3 - w3 epsilon=0.001 act=relu
output t4 rows
output t3 rows
"""


def feed_forward(c: int = 20, inner: int = 37) -> Program:
    return parse(FEED_FORWARD.format(c=c, inner=inner))


def random_weights(program: Program, seed: int, zeros: float) -> list[Constant]:
    return random_constants(program, np.random.default_rng(seed), zeros)


def tokens(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stock(nodes: list[tuple[str, list[str], str, dict[str, object]]], given: dict[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime makes of nodes on constants; the last one's output."""
    import onnxruntime

    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes],
        "tokens",
        [helper.make_tensor_value_info("x", 1, None)],
        [helper.make_tensor_value_info(nodes[-1][2], 1, None)],
        [numpy_helper.from_array(value, name) for name, value in given.items() if name != "x"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": given["x"]})[0])


def test_the_oracle_is_what_onnx_runtime_computes() -> None:
    program = feed_forward()
    w0, b0, w1, b1 = random_weights(program, seed=2, zeros=0.8)
    x = tokens(2, 9, 20)
    named = {"x": x, "w0": w0, "b0": b0, "w1": np.asarray(w1, np.float32), "b1": b1, "one": np.ones(20, np.float32)}
    expected = stock(
        [
            ("LayerNormalization", ["x", "b1", "b1"], "n", {"epsilon": 1e-5}),
            ("MatMul", ["n", "w0"], "p", {}),
            ("Add", ["p", "b0"], "q", {}),
            ("Gelu", ["q"], "g", {}),
            ("MatMul", ["g", "w1"], "r", {}),
            ("Add", ["r", "b1"], "s", {}),
            ("Add", ["s", "x"], "t", {}),
            ("LayerNormalization", ["t", "one", "b1"], "u", {"epsilon": 1e-3}),
            ("Relu", ["u"], "y", {}),
        ],
        named,
    )
    found, _ = run(program, [w0, b0, w1, b1], [x])
    assert found.shape == (2, 9, 20)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_kernel_keeps_the_bound(kernels: Path) -> None:
    for c, inner, zeros in ((20, 37, 0.8), (64, 128, 0.9), (3, 5, 0.2)):
        program = feed_forward(c, inner)
        weights = random_weights(program, seed=c, zeros=zeros)
        for shape in ((1, 1), (2, 9), (1, 300), (3, 50)):
            hold(program, weights, [tokens(*shape, c)], kernels)


def test_a_mean_that_is_large_leaves_the_deviation_exact(kernels: Path) -> None:
    source = "lth_region 4\ninputs 1\nt0 = loadtokens 0 channels=48\n"
    source += "t1 = layernorm t0 - - epsilon=1e-05 act=none\noutput t1 rows\n"
    x = tokens(1, 40, 48) + 1000
    hold(parse(source), [], [x], kernels)
    (found,) = run(parse(source), [], [x])
    np.testing.assert_allclose(found.std(axis=2), 1, rtol=1e-3)


def test_layer_norm_of_planes_is_over_their_channels(kernels: Path) -> None:
    source = "lth_region 4\ninputs 1\nweight dense f32 1,6,1,1 at 1\nt0 = load 0 channels=6\n"
    program = parse(source + "t1 = layernorm t0 w0 - epsilon=0.01 act=silu\noutput t1\n")
    hold(program, [tokens(1, 6, 1, 1)], [tokens(2, 6, 13, 17)], kernels)


def test_products_of_rows_that_are_no_tokens(kernels: Path) -> None:
    source = "lth_region 4\ninputs 1\nweight bitmask f32 19,33 at 1,2\nt0 = loadrows 0 channels=19\n"
    program = parse(source + "t1 = matmul t0 w0 - act=relu\noutput t1 rows\n")
    for rows in (1, 7, 40):
        hold(program, random_weights(program, seed=rows, zeros=0.7), [tokens(rows, 19)], kernels)


@pytest.mark.parametrize("shape", [(0, 5, 20), (2, 0, 20)])
def test_no_tokens_make_none(kernels: Path, shape: tuple[int, int, int]) -> None:
    program = feed_forward()
    session = open_model(model_of(program, random_weights(program, seed=0, zeros=0.5)), kernels)
    assert [found.shape for found in run_model(session, [np.zeros(shape, np.float32)])] == [shape, shape]


TWO_INPUTS = """\
lth_region 4
inputs 2
t0 = loadtokens 0 channels=4
t1 = loadtokens 1 channels=4
t2 = add t0 t1 act=none
output t2 rows
"""


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 4), (3, 2, 4)), "matrices with 2 x 3 and with 3 x 2 rows"),
        (((2, 3, 4), (2, 3, 5)), r"input 1 must be \[N, T, 4\]"),
        (((2, 3, 4), (6, 4)), r"input 1 must be \[N, T, 4\]|Invalid rank"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(kernels: Path, shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    session = open_model(model_of(parse(TWO_INPUTS), []), kernels)
    with pytest.raises(Exception, match=message):
        run_model(session, [np.zeros(shape, np.float32) for shape in shapes])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 4", "lth_region 3", "line 1.*lth_region 4"),
        ("f32 20,37", "f32 37,20", "line 9.*takes 37 channels"),
        ("f32 20,37", "f32 20,37,1,1", "line 9.*4 dimensions"),
        ("epsilon=0.001", "epsilon=0", "line 11.*epsilon"),
        ("epsilon=0.001", "epsilon=-1", "line 11.*epsilon"),
        ("layernorm t3 - w3", "layernorm t3 - w1", "line 11.*value for each channel"),
        ("add=t0 ", "add=t2 ", "line 10.*37 channels"),
        ("loadtokens 0", "load 0", "line 9.*rows"),
        ("output t4 rows", "output t4", "line 12.*rows"),
    ],
)
def test_what_breaks_a_rule_is_refused(kernels: Path, old: str, new: str, message: str) -> None:
    source = FEED_FORWARD.format(c=20, inner=37).replace(old, new, 1)
    with pytest.raises(ArtifactError, match=message):
        parse(source)
    program = feed_forward()
    model = model_of(program, random_weights(program, seed=0, zeros=0.5))
    damaged = model.replace(FEED_FORWARD.format(c=20, inner=37).encode(), source.encode())
    if len(source) == len(FEED_FORWARD.format(c=20, inner=37)):
        with pytest.raises(Exception, match="program"):
            open_model(damaged, kernels)


def test_rows_and_tokens_do_not_meet_in_one_program() -> None:
    source = TWO_INPUTS.replace("loadtokens 1", "loadrows 1")
    with pytest.raises(ArtifactError, match="loadrows and loadtokens"):
        parse(source)


QUANTIZED = """\
lth_region 4
inputs 1
weight bitmask s8 {c},{inner} at 1,2
weight dense f32 {inner} at 3
weight dense s32 {inner} at 4
weight gaps4 s8 {inner},{c} at 5,6
weight dense f32 {c} at 7
t0 = loadtokens 0 channels={c}
t1 = quantize t0 out=u8:0.02:120
t2 = qmatmul t1 w0 w1 w2 act=gelu out=u8:0.03:10
t3 = qmatmul t2 w3 w4 - add=t1 act=none out=u8:0.03:128
t4 = qmatmul t3 w0 w1 - act=none out=f32
t5 = dequantize t3
output t4 rows
output t5 rows
"""


def test_products_of_quantized_tokens_on_every_kernel(kernels: Path) -> None:
    for c, inner, zeros in ((12, 24, 0.7), (20, 37, 0.8), (64, 128, 0.9)):
        program = parse(QUANTIZED.format(c=c, inner=inner))
        weights = random_weights(program, seed=c, zeros=zeros)
        for shape in ((1, 1), (2, 9), (1, 300)):
            hold(program, weights, [tokens(*shape, c)], kernels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("qmatmul t1 w0 w1 w2", "qmatmul t0 w0 w1 w2", "line 10.*quantized tensors"),
        ("s8 12,24", "f32 12,24", "line 10.*f32"),
        ("qmatmul t3 w0 w1 -", "qmatmul t3 w0 w1 - add=t2", "line 12.*nothing is added"),
        ("qmatmul t3 w0 w1 -", "qmatmul t3 w0 w4 -", "line 12.*scales"),
        ("qmatmul t3 w0", "qmatmul t2 w0", "line 12.*takes 12 channels, t2 has 24"),
        ("loadtokens", "load", "line 10.*rows"),
    ],
)
def test_what_breaks_a_rule_of_quantized_tokens_is_refused(old: str, new: str, message: str) -> None:
    source = QUANTIZED.format(c=12, inner=24)
    parse(source)
    with pytest.raises(ArtifactError, match=message):
        parse(source.replace(old, new, 1))
