"""The oracle against ONNX Runtime, operator by operator, and its bounds against float32 arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from onnx import helper, numpy_helper

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run, run_bounded
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.region_programs import EVERY_INSTRUCTION, programs


def _random(program: Program, shapes: list[tuple[int, ...]], seed: int = 0) -> tuple[list[np.ndarray], ...]:
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(weight.dims).astype(np.float32) for weight in program.weights]
    return weights, [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_every_instruction_runs() -> None:
    program = parse(EVERY_INSTRUCTION)
    weights, inputs = _random(program, [(2, 3, 21, 18), (5, 16)])
    plane, rows = run(program, weights, inputs)
    assert plane.shape == (2, 2, 22, 18)
    assert rows.shape == (5, 6)


@given(programs(bf16=False))  # whose bounds are wider
@settings(max_examples=60, deadline=None)
def test_drawn_programs_run_or_say_why_not(program: Program) -> None:
    weights, inputs = _random(program, [(1, program.instructions[0].channels, 9, 8)])  # type: ignore[union-attr]
    for tensor in run_bounded(program, weights, inputs):
        assert np.isfinite(tensor.value).all()
        assert (tensor.bound >= 0).all()
        assert (tensor.bound <= 1e-2 * (1 + np.abs(tensor.value).max())).all()


def _onnx(operator: str, inputs: list[np.ndarray], **attributes: object) -> np.ndarray:
    import onnxruntime

    names = [f"i{number}" if array.size else "" for number, array in enumerate(inputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("i0", 1, list(inputs[0].shape))],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for array, name in list(zip(inputs, names, strict=True))[1:] if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"i0": inputs[0]})[0])


HEAD = "lth_region 1\ninputs 1\n"
X = (2, 4, 11, 9)
CASES = [
    (
        "weight dense f32 6,2,3,2 at 1\nweight dense f32 6 at 2\n",
        "t1 = conv t0 w0 w1 kernel=3,2 stride=2,1 pads=1,0,2,1 dilation=2,3 groups=2 act=none\n",
        "Conv",
        {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [2, 3], "group": 2},
    ),
    (
        "weight dense f32 4,5,2,3 at 1\nweight dense f32 5 at 2\n",
        "t1 = convtranspose t0 w0 w1 kernel=2,3 stride=2,3 act=none\n",
        "ConvTranspose",
        {"strides": [2, 3]},
    ),
    (
        "",
        "t1 = maxpool t0 kernel=3,2 stride=2,2 pads=1,0,1,1 dilation=1,2\n",
        "MaxPool",
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2], "dilations": [1, 2]},
    ),
    ("", "t1 = act t0 act=leaky:0.1\n", "LeakyRelu", {"alpha": 0.1}),
    ("", "t1 = act t0 act=relu\n", "Relu", {}),
    ("", "t1 = act t0 act=hardswish\n", "HardSwish", {}),
    ("", "t1 = slice t0 from=0 to=4\n", "Identity", {}),
]


@pytest.mark.parametrize(("weights", "line", "operator", "attributes"), CASES, ids=[case[2] for case in CASES])
def test_it_agrees_with_onnx_runtime(weights: str, line: str, operator: str, attributes: dict[str, object]) -> None:
    program = parse(f"{HEAD}{weights}t0 = load 0 channels=4\n{line}output t1\n")
    constants, inputs = _random(program, [X])
    (ours,) = run_bounded(program, constants, inputs)
    theirs = _onnx(operator, [*inputs, *constants], **attributes)
    assert ours.value.shape == theirs.shape
    assert (np.abs(ours.value - theirs) <= ours.bound).all()


def test_resize_is_the_nearest_by_floor() -> None:
    source = f"{HEAD[:-2]}2\nt0 = load 0 channels=1\nt1 = load 1 channels=1\nt2 = resize t0 like=t1\noutput t2\n"
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 4, 3)
    (ours,) = run(parse(source), [], [x, np.zeros((1, 1, 7, 6), np.float32)])
    sizes = np.array([1, 1, 7, 6])
    empty = np.zeros(0, np.float32)
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    assert np.array_equal(ours, _onnx("Resize", [x, empty, empty, sizes], **how))


@pytest.mark.parametrize("how", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("plane", [(8, 6), (2, 1), (4, 9), (7, 5)])
def test_resize_between_pixels_is_bilinear(how: str, plane: tuple[int, int]) -> None:
    source = f"{HEAD[:-2]}2\nt0 = load 0 channels=2\nt1 = load 1 channels=1\n"
    source += f"t2 = resize t0 like=t1 linear={how}\noutput t2\n"
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 3)).astype(np.float32)
    (ours,) = run_bounded(parse(source), [], [x, np.zeros((1, 1, *plane), np.float32)])
    empty = np.zeros(0, np.float32)
    attributes = {"mode": "linear", "coordinate_transformation_mode": how}
    theirs = _onnx("Resize", [x, empty, empty, np.array([1, 2, *plane])], **attributes)
    assert (np.abs(ours.value - theirs) <= ours.bound + 1e-6).all()  # a runtime rounds positions, too


def test_a_bound_holds_for_float32_and_is_not_slack() -> None:
    program = parse(
        f"{HEAD}weight dense f32 8,64,3,3 at 1\nt0 = load 0 channels=64\n"
        "t1 = conv t0 w0 - kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1 act=none\noutput t1\n"
    )
    weights, inputs = _random(program, [(1, 64, 6, 6)])
    (exact,) = run_bounded(program, weights, inputs)
    theirs = _onnx("Conv", [*inputs, *weights], pads=[1, 1, 1, 1])
    assert (np.abs(exact.value - theirs) <= exact.bound).all()
    assert exact.bound.max() < 1e-1
    weights[0][0, 0, 1, 1] *= 1.01
    wrong = run(program, weights, inputs)[0]
    assert (np.abs(exact.value - wrong) > exact.bound).any()


def test_shapes_that_do_not_fit_are_named() -> None:
    program = parse(EVERY_INSTRUCTION)
    weights, inputs = _random(program, [(1, 4, 21, 18), (5, 16)])
    with pytest.raises(ArtifactError, match=r"t0.*3 channels"):
        run(program, weights, inputs)
    source = f"{HEAD[:-2]}2\nt0 = load 0 channels=1\nt1 = load 1 channels=1\nt2 = add t0 t1 act=none\noutput t2\n"
    with pytest.raises(ArtifactError, match=r"t2.*do not fit together"):
        run(parse(source), [], [np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 1, 2))])
