"""Sums of convolutions of one value become one convolution, and nothing else does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.importing.plain.steps import BRANCHES
from tests.compiler.importing.node_cases import as_model, run
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
RNG = np.random.default_rng(3)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def thin(*shape: int) -> Any:
    return floats(*shape) * (RNG.random(shape) > 0.6)


FEEDS = {"x": floats(2, 8, 11, 9)}
TENSORS = {
    "w3": thin(8, 8, 3, 3),
    "w1": thin(8, 8, 1, 1),
    "w5": thin(8, 8, 5, 5),
    "wide": thin(8, 8, 1, 3),
    "again": thin(8, 8, 3, 3),
    "u3": thin(8, 2, 3, 3),
    "u1": thin(8, 2, 1, 1),
    "d3": floats(8, 1, 3, 3),
    "d1": floats(8, 1, 1, 1),
    "more": thin(12, 8, 3, 3),
    "more1": thin(12, 8, 1, 1),
    "b": floats(8),
    "c": floats(8),
    "alpha": np.float32(0.7),
    "s": 0.5 + RNG.random((1, 8, 1, 1)).astype(np.float32),
    "t": floats(1, 8, 1, 1),
    "none": np.zeros((1, 8, 1, 1), np.float32),
}


def conv(y: str, w: str, *bias: str, x: str = "x", **attributes: Any) -> NodeProto:
    """With as many zeros around as its window needs to keep the size."""
    pads = [size // 2 for size in TENSORS[w].shape[2:]] * 2
    return N("Conv", [x, w, *bias], [y], f"conv {y}", **{"pads": pads, **attributes})


def norm(x: str, y: str, kind: int = 0) -> NodeProto:
    return N("BatchNormalization", [x, *(f"{name}{kind}" for name in "gomv")], [y])


def add(first: str, second: str, y: str = "y") -> NodeProto:
    return N("Add", [first, second], [y])


def model(*nodes: NodeProto, feeds: dict[str, Any] = FEEDS, outputs: tuple[str, ...] = ("y",)) -> ModelProto:
    norms = {f"{name}{kind}": floats(8) for name in "gom" for kind in range(4)}
    norms |= {f"v{kind}": RNG.random(8).astype(np.float32) + 0.5 for kind in range(4)}
    used = {name for node in nodes for name in node.input}
    tensors = {name: value for name, value in {**TENSORS, **norms}.items() if name in used}
    return as_model(list(nodes), feeds, list(outputs), 17, **tensors)


MERGED: dict[str, Callable[[], ModelProto]] = {
    "3x3 and 1x1": lambda: model(conv("p", "w3"), conv("q", "w1"), add("p", "q")),
    "the small one first": lambda: model(conv("p", "w3", "b"), conv("q", "w1"), add("q", "p")),
    "only the small one has a bias": lambda: model(conv("p", "w3"), conv("q", "w1", "c"), add("p", "q")),
    "one bias for both": lambda: model(conv("p", "w3", "b"), conv("q", "w1", "b"), add("p", "q")),
    "norms behind both": lambda: model(
        conv("p", "w3", "b"), norm("p", "m"), conv("q", "w1"), norm("q", "n", 1), add("m", "n")
    ),
    "and a norm beside them": lambda: model(
        conv("p", "w3"),
        norm("p", "m"),
        conv("q", "w1"),
        norm("q", "n", 1),
        add("m", "n", "k"),
        norm("x", "l", 2),
        add("k", "l"),
    ),
    "a norm alone": lambda: model(conv("p", "w3"), norm("x", "l", 2), add("l", "p")),
    "scale and shift alone": lambda: model(
        conv("p", "w3"), N("Mul", ["x", "s"], ["m"]), add("m", "t", "n"), add("p", "n")
    ),
    "a factor, the value itself, and a norm behind the sum": lambda: model(
        conv("p", "w3"),
        norm("p", "m"),
        conv("q", "w1", "c"),
        N("Mul", ["q", "alpha"], ["n"]),
        add("m", "n", "k"),
        add("k", "x", "l"),
        norm("l", "y", 1),
    ),
    "stride 2": lambda: model(conv("p", "w3", strides=[2, 2]), conv("q", "w1", strides=[2, 2]), add("p", "q")),
    "more outputs than inputs": lambda: model(conv("p", "more"), conv("q", "more1"), add("p", "q")),
    "groups": lambda: model(conv("p", "u3", group=4), conv("q", "u1", group=4), add("p", "q")),
    "groups with a norm": lambda: model(conv("p", "u3", "b", group=4), norm("x", "l"), add("p", "l")),
    "depthwise": lambda: model(
        conv("p", "d3", group=8), conv("q", "d1", group=8), add("p", "q", "k"), norm("x", "l"), add("k", "l")
    ),
    "dilated": lambda: model(conv("p", "w3", pads=[2] * 4, dilations=[2, 2]), conv("q", "w1"), add("p", "q")),
    "5x5 and a dilated 3x3": lambda: model(
        conv("p", "w5"), conv("q", "w3", pads=[2] * 4, dilations=[2, 2]), add("p", "q")
    ),
    "3x3 and 1x3": lambda: model(conv("p", "w3"), conv("q", "wide"), add("p", "q")),
    "two of one size": lambda: model(conv("p", "w3"), conv("q", "again"), add("p", "q")),
    "three": lambda: model(conv("p", "w5"), conv("q", "w3"), add("p", "q", "k"), conv("r", "w1", "b"), add("r", "k")),
    "more zeros around both": lambda: model(
        conv("p", "w3", pads=[2, 1, 1, 3]), conv("q", "w1", pads=[1, 0, 0, 2]), add("p", "q")
    ),
    "a window that reads beyond the other's zeros": lambda: model(
        conv("p", "w3", pads=[2, 2, 0, 0]), conv("q", "w1"), add("p", "q")
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_branches_become_one_convolution(name: str) -> None:
    made = MERGED[name]()
    imported = imported_alike(made, FEEDS)
    assert operators(imported) == ["Conv"]
    assert any(note.startswith("merged 1 convolutions with the branches beside them") for note in imported.notes)
    assert BRANCHES in imported.done
    assert len(imported.layers) == 1
    left = import_model(made).without([BRANCHES])
    assert operators(left).count("Add") >= 1


STAY: dict[str, Callable[[], ModelProto]] = {
    "a residual": lambda: model(conv("p", "w3"), add("p", "x")),
    "a branch that is read elsewhere": lambda: model(
        conv("p", "w3"), conv("q", "w1"), add("p", "q"), N("Relu", ["q"], ["z"]), outputs=("y", "z")
    ),
    "a branch that is returned": lambda: model(conv("p", "w3"), conv("q", "w1"), add("p", "q"), outputs=("y", "p")),
    "different values": lambda: model(N("Relu", ["x"], ["r"]), conv("p", "w3"), conv("q", "w1", x="r"), add("p", "q")),
    "one weight for both": lambda: model(conv("p", "w3"), conv("q", "w3"), add("p", "q")),
    "one convolution twice": lambda: model(conv("p", "w3"), add("p", "p")),
    "a tap between those of the other": lambda: model(
        conv("p", "w3", pads=[2] * 4, dilations=[2, 2]), conv("q", "again"), add("p", "q")
    ),
    "places that broadcast": lambda: model(conv("p", "w3"), conv("q", "w1", strides=[11, 9]), add("p", "q")),
    "planes of two sizes, of which one has one pixel": lambda: model(
        conv("p", "w3", strides=[11, 9], pads=[0] * 4), conv("q", "w1", strides=[11, 9]), add("p", "q")
    ),
    "zeros around, whose number follows from the size": lambda: as_model(
        [N("Conv", ["x", "w3"], ["p"], auto_pad="SAME_UPPER"), conv("q", "w1"), add("p", "q")],
        FEEDS,
        ["y"],
        17,
        w3=TENSORS["w3"],
        w1=TENSORS["w1"],
    ),
}


@pytest.mark.parametrize("name", STAY)
def test_other_sums_stay(name: str) -> None:
    made = STAY[name]()
    imported = imported_alike(made, FEEDS)
    assert operators(imported) == [node.op_type for node in made.graph.node]
    assert BRANCHES not in imported.done


def test_a_layer_of_which_nothing_is_seen_stays() -> None:
    made = model(conv("p", "w3"), N("Mul", ["p", "none"], ["m"]), conv("q", "w1"), add("m", "q"))
    imported = import_model(made)
    # The small window cannot take the taps of the large one, and no weights of the large one say what the sum does.
    assert operators(imported) == ["Conv", "Conv", "Add"]


def test_zeros_that_meet_stay_zeros() -> None:
    imported = import_model(model(conv("p", "w3"), conv("q", "w1"), add("p", "q")))
    (weight,) = (array_of(one) for one in imported.normalized.proto.graph.initializer if len(one.dims) == 4)
    large, small = TENSORS["w3"], TENSORS["w1"]
    expected = large.copy()
    expected[:, :, 1:2, 1:2] += small
    np.testing.assert_array_equal(weight, expected)
    assert np.count_nonzero(weight) < np.count_nonzero(large) + np.count_nonzero(small)


@pytest.mark.parametrize("weight", ["w3", "w1"])
def test_branches_of_one_layer_can_be_left_out(weight: str) -> None:
    nodes = [conv("p", "w3"), conv("q", "w1"), add("p", "q", "k"), N("Relu", ["k"], ["r"])]
    nodes += [conv("m", "w5", x="r"), conv("n", "again", x="r"), add("m", "n")]
    left = import_model(model(*nodes)).without([weight])
    assert operators(left) == ["Conv", "Conv", "Add", "Relu", "Conv"]
    assert [layer.weight for layer in left.layers] == ["w5"]


def test_halves_stay_halves() -> None:
    tensors = {name: TENSORS[name].astype(np.float16) for name in ("w3", "w1")}
    x = {"x": FEEDS["x"].astype(np.float16)}
    made = as_model([conv("p", "w3"), conv("q", "w1"), add("p", "q")], x, ["y"], 17, **tensors)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    imported = import_model(made)
    assert [one for one in operators(imported) if one != "Cast"] == ["Conv"]
    (weight,) = (array_of(one) for one in imported.normalized.proto.graph.initializer if len(one.dims) == 4)
    np.testing.assert_array_equal(weight, weight.astype(np.float16))
    (before,), (after,) = run(made, x), run(imported.normalized.proto, x)
    np.testing.assert_allclose(before.astype(np.float32), after.astype(np.float32), atol=0.05)
