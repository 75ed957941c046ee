"""Per-channel operators are folded into layers where that is exact in form, and nowhere else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.compiler.importing.imported import import_model, normalize
from tests.compiler.importing.node_cases import as_model, run
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
RNG = np.random.default_rng(1)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


FEEDS = {"x": floats(2, 8, 7, 6)}
ROWS = {"x": floats(5, 8)}
W = floats(12, 8, 3, 3) * (RNG.random((12, 8, 3, 3)) > 0.6)
BIAS = floats(12)
A, C = 0.5 + RNG.random((1, 12, 1, 1)).astype(np.float32), floats(1, 12, 1, 1)
AHEAD, SHIFT = 0.5 + RNG.random((1, 8, 1, 1)).astype(np.float32), floats(1, 8, 1, 1)
NORM = {"g": floats(12), "o": floats(12), "m": floats(12), "v": RNG.random(12).astype(np.float32) + 0.5}


def conv(x: str = "x", y: str = "c", w: str = "w", *bias: str, **attributes: Any) -> NodeProto:
    return N("Conv", [x, w, *bias], [y], f"conv {y}", **{"pads": [1] * 4, **attributes})


def norm(x: str = "c", y: str = "y", **attributes: Any) -> NodeProto:
    return N("BatchNormalization", [x, "g", "o", "m", "v"], [y], **attributes)


def model(
    *nodes: NodeProto, feeds: dict[str, Any] = FEEDS, outputs: tuple[str, ...] = ("y",), **tensors: Any
) -> ModelProto:
    used = {name for node in nodes for name in node.input}
    known = {"w": W, "b": BIAS, "a": A, "s": C, "p": AHEAD, "t": SHIFT, **NORM, **tensors}
    return as_model(list(nodes), feeds, list(outputs), 17, **{k: v for k, v in known.items() if k in used})


FOLDED: dict[str, Callable[[], ModelProto]] = {
    "batch norm": lambda: model(conv(), norm()),
    "batch norm with an epsilon, a bias before it": lambda: model(conv("x", "c", "w", "b"), norm(epsilon=0.3)),
    "frozen batch norm": lambda: model(conv(), N("Mul", ["c", "a"], ["d"]), N("Add", ["d", "s"], ["y"])),
    "constants on the left": lambda: model(conv(), N("Mul", ["a", "c"], ["d"]), N("Add", ["s", "d"], ["y"])),
    "differences and a quotient": lambda: model(
        conv("x", "c", "w", "b"), N("Sub", ["c", "s"], ["d"]), N("Sub", ["s", "d"], ["e"]), N("Div", ["e", "a"], ["y"])
    ),
    "one number for all": lambda: model(conv(), N("Mul", ["c", "k"], ["y"]), k=np.float32(0.5)),
    "without a batch axis": lambda: model(conv(), N("Add", ["c", "k"], ["y"]), k=floats(12, 1, 1)),
    "a constant that follows from others": lambda: model(
        conv(),
        N("Reshape", ["g", "n"], ["k"]),
        N("Mul", ["c", "k"], ["y"]),
        n=np.array([1, -1, 1, 1]),
    ),
    "groups": lambda: model(conv("x", "c", "u", group=4), norm(), u=floats(12, 2, 3, 3)),
    "depthwise": lambda: model(
        conv("x", "c", "u", group=8), N("Mul", ["c", "p"], ["d"]), N("Add", ["d", "t"], ["y"]), u=floats(8, 1, 3, 3)
    ),
    "transposed": lambda: model(N("ConvTranspose", ["x", "u"], ["c"]), norm(), u=floats(8, 12, 2, 2)),
    "transposed in groups": lambda: model(N("ConvTranspose", ["x", "u"], ["c"], group=2), norm(), u=floats(8, 6, 2, 2)),
    "product of rows": lambda: model(N("Gemm", ["x", "u", "b"], ["c"]), norm(), feeds=ROWS, u=floats(8, 12)),
    "product of rows, transposed": lambda: model(
        N("Gemm", ["x", "u"], ["c"], transB=1), N("Div", ["c", "g"], ["y"]), feeds=ROWS, u=floats(12, 8)
    ),
    "MatMul": lambda: model(N("MatMul", ["x", "u"], ["c"]), N("Mul", ["c", "g"], ["y"]), feeds=ROWS, u=floats(8, 12)),
    "ahead of a convolution": lambda: model(N("Mul", ["x", "p"], ["d"]), conv("d", "y", "w", "b")),
    "ahead, in groups": lambda: model(N("Div", ["x", "p"], ["d"]), conv("d", "y", "u", group=2), u=floats(12, 4, 3, 3)),
    "ahead of a transposed one": lambda: model(
        N("Mul", ["x", "p"], ["d"]), N("ConvTranspose", ["d", "u"], ["y"], group=2), u=floats(8, 6, 2, 2)
    ),
    "ahead, with a shift, nothing padded": lambda: model(
        N("Sub", ["x", "t"], ["d"]), N("Div", ["d", "p"], ["e"]), conv("e", "y", pads=[0] * 4)
    ),
    "ahead of rows": lambda: model(
        N("Add", ["x", "k"], ["d"]), N("Gemm", ["d", "u"], ["y"]), feeds=ROWS, u=floats(8, 12), k=floats(8)
    ),
    "ahead and behind": lambda: model(
        N("Mul", ["x", "p"], ["d"]),
        N("Add", ["d", "t"], ["e"]),
        N("Conv", ["e", "w", "b"], ["c"], auto_pad="VALID"),
        norm(),
    ),
    "ahead of two layers": lambda: model(
        N("Mul", ["x", "p"], ["d"]),
        conv("d", "c", "w"),
        conv("d", "e", "u"),
        N("Sum", ["c", "e"], ["y"]),
        u=floats(12, 8, 3, 3),
    ),
    "a weight that two layers share, with one norm": lambda: model(
        conv("x", "c"),
        norm("c", "d"),
        N("Neg", ["x"], ["n"]),
        conv("n", "e"),
        norm("e", "f"),
        N("Sum", ["d", "f"], ["y"]),
    ),
    "channels that are zero": lambda: model(
        conv(), N("Mul", ["c", "k"], ["d"]), N("Add", ["d", "s"], ["y"]), k=A * (np.arange(12) > 3).reshape(1, 12, 1, 1)
    ),
}


@pytest.mark.parametrize("case", FOLDED)
def test_folded(case: str) -> None:
    made = FOLDED[case]()
    feeds = ROWS if made.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5 else FEEDS
    imported = imported_alike(made, feeds)
    allowed = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Sum", "Neg"}
    assert set(operators(imported)) <= allowed
    assert any("folded" in note for note in imported.notes)
    assert normalize(made).proto.graph.node == made.graph.node or "n" in {one.name for one in made.graph.initializer}


def test_zeros_stay_zeros_and_names_stay() -> None:
    imported = import_model(FOLDED["frozen batch norm"]())
    (weight,) = [one for one in imported.normalized.proto.graph.initializer if one.name == "w"]
    folded = np.frombuffer(weight.raw_data, np.float32).reshape(W.shape)
    np.testing.assert_array_equal(folded == 0, W == 0)
    np.testing.assert_allclose(folded, W * A.reshape(12, 1, 1, 1), rtol=1e-6)


STAYS: dict[str, Callable[[], ModelProto]] = {
    "along the width": lambda: model(conv(), N("Mul", ["c", "k"], ["y"]), k=floats(6)),
    "along the width, as many as channels": lambda: model(
        conv(), N("Mul", ["c", "k"], ["y"]), feeds={"x": floats(2, 8, 7, 12)}, k=floats(12)
    ),
    "a map": lambda: model(conv(), N("Add", ["c", "k"], ["y"]), k=floats(1, 1, 7, 6)),
    "one that enlarges": lambda: model(conv("x", "c", "u"), N("Mul", ["c", "a"], ["y"]), u=floats(1, 8, 3, 3)),
    "one that adds an axis": lambda: model(conv(), N("Mul", ["c", "k"], ["y"]), k=floats(1, 1, 12, 1, 1)),
    "a divisor of zero": lambda: model(conv(), N("Div", ["c", "k"], ["y"]), k=np.zeros((1, 12, 1, 1), np.float32)),
    "a quotient of a constant": lambda: model(conv(), N("Div", ["a", "c"], ["y"])),
    "a value that others read": lambda: model(conv(), norm("c", "d"), N("Sum", ["c", "d"], ["y"])),
    "a value that the model returns": lambda: model(conv(), norm(), outputs=("y", "c")),
    "a weight that layers share, with different norms": lambda: model(
        conv("x", "c"), norm("c", "d"), N("Neg", ["x"], ["n"]), conv("n", "e"), N("Sum", ["d", "e"], ["y"])
    ),
    "a weight that is returned": lambda: model(conv(), norm(), N("Neg", ["w"], ["z"]), outputs=("y", "z")),
    "a shift ahead of padding": lambda: model(N("Add", ["x", "t"], ["d"]), conv("d", "y")),
    "a shift ahead of a transposed convolution": lambda: model(
        N("Add", ["x", "t"], ["d"]), N("ConvTranspose", ["d", "u"], ["y"]), u=floats(8, 12, 2, 2)
    ),
    "one ahead that enlarges": lambda: model(
        N("Mul", ["x", "p"], ["d"]), conv("d", "y"), feeds={"x": floats(2, 1, 7, 6)}
    ),
    "one ahead of a layer and of another reader": lambda: model(
        N("Mul", ["x", "p"], ["d"]), conv("d", "c"), N("ReduceMax", ["d"], ["e"]), N("Sum", ["c", "e"], ["y"])
    ),
    "a sum behind a MatMul": lambda: model(
        N("MatMul", ["x", "u"], ["c"]), N("Add", ["c", "g"], ["y"]), feeds=ROWS, u=floats(8, 12)
    ),
    "a Gemm that scales": lambda: model(
        N("Gemm", ["x", "u"], ["c"], alpha=2.0), N("Mul", ["c", "g"], ["y"]), feeds=ROWS, u=floats(8, 12)
    ),
    "one behind an activation": lambda: model(conv(), N("Relu", ["c"], ["r"]), norm("r")),
}


@pytest.mark.parametrize("case", STAYS)
def test_not_folded(case: str) -> None:
    made = STAYS[case]()
    dims = made.graph.input[0].type.tensor_type.shape.dim
    rng = np.random.default_rng(2)
    feeds = {"x": rng.standard_normal([dim.dim_value for dim in dims]).astype(np.float32)}
    before = run(made, feeds)
    imported = import_model(made)
    for wanted, found in zip(before, run(imported.normalized.proto, feeds), strict=True):
        np.testing.assert_array_equal(wanted, found)
    assert not imported.layers
    assert imported.normalized.proto.graph.node == made.graph.node


def test_a_norm_in_training_stays() -> None:
    nodes = [conv(), N("BatchNormalization", ["c", "g", "o", "m", "v"], ["y", "mm", "vv"], training_mode=1)]
    assert not import_model(model(*nodes)).layers


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15, 21])
def test_versions_of_the_norm(opset: int) -> None:
    made = as_model([conv(), norm(epsilon=1e-3)], FEEDS, ["y"], opset, w=W, **NORM)
    assert operators(imported_alike(made, FEEDS)) == ["Conv"]


def test_a_constant_that_a_caller_may_replace_stays() -> None:
    made = model(conv(), N("Mul", ["c", "a"], ["y"]))
    made.graph.input.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, A.shape))
    assert operators(import_model(made, keep_inputs=True)) == ["Conv", "Mul"]
    assert operators(import_model(made)) == ["Conv"]


def test_half_precision_is_folded_and_stays_half() -> None:
    halves = {"w": W, "k": A, "l": C}
    nodes = [conv(), N("Mul", ["c", "k"], ["d"]), N("Add", ["d", "l"], ["y"])]
    x = {"x": FEEDS["x"].astype(np.float16)}
    made = as_model(nodes, x, ["y"], 17, **{name: value.astype(np.float16) for name, value in halves.items()})
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    imported = import_model(made)
    assert [one for one in operators(imported) if one != "Cast"] == ["Conv"]
    weight = next(one for one in imported.normalized.proto.graph.initializer if one.name == "w")
    values = np.frombuffer(weight.raw_data, np.float32)
    np.testing.assert_array_equal(values, values.astype(np.float16))
    (before,), (after,) = run(made, x), run(imported.normalized.proto, x)
    np.testing.assert_allclose(before.astype(np.float32), after.astype(np.float32), atol=0.05)


def test_layers_can_be_left_out_by_name() -> None:
    made = model(conv("x", "c"), norm("c", "d"), conv("d", "e", "u"), norm("e"), u=floats(12, 12, 3, 3))
    assert import_model(made).done == ("w", "u")
    left = import_model(made).without(["u"])
    assert left.done == ("w",)
    assert operators(left) == ["Conv", "Conv", "BatchNormalization"]
