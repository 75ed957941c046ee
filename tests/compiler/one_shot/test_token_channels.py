"""Dead neurons of layers over tokens leave a model, with their biases, through the arithmetic of activations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto

from tests.compiler.one_shot.removal import removed
from tests.compiler.onnx_models import Net

DEAD = (1, 5)


def tokens(net: Net, width: int = 4) -> str:
    """Values [1, pixels, width] of an image."""
    image = net.conv("stem", "x", (width, 3, 3, 3))
    rows = net.node("Reshape", [image, net.put("rows", np.array([1, width, -1]))], "rows.of")
    return net.node("Transpose", [rows], "tokens", perm=[0, 2, 1])


def linear(net: Net, name: str, x: str, sizes: tuple[int, int], dead: tuple[int, ...] = (), first: bool = True) -> str:
    """A fully connected layer over tokens as torch exports it; `first`: the bias stands first in the sum."""
    weight, bias = net.rng.normal(0, 0.3, sizes).astype(np.float32), net.rng.normal(0, 1, sizes[1]).astype(np.float32)
    weight[:, list(dead)], bias[list(dead)] = 0, 0
    product = net.node("MatMul", [x, net.put(f"{name}.weight", weight)], f"{name}.product")
    added = net.put(f"{name}.bias", bias)
    return net.node("Add", [added, product] if first else [product, added], name)


def number(net: Net, value: float) -> str:
    return net.put(f"number{value:g}", np.float32(value))


def gelu(net: Net, x: str) -> str:
    half = net.node("Div", [x, number(net, math.sqrt(2))], f"{x}.half")
    share = net.node("Add", [net.node("Erf", [half], f"{x}.erf"), number(net, 1)], f"{x}.share")
    return net.node("Mul", [net.node("Mul", [x, share], f"{x}.part"), number(net, 0.5)], f"{x}.gelu")


def gelu_by_tanh(net: Net, x: str) -> str:
    cube = net.node("Mul", [net.node("Pow", [x, number(net, 3)], f"{x}.cube"), number(net, 0.044715)], f"{x}.third")
    inner = net.node("Mul", [net.node("Add", [x, cube], f"{x}.sum"), number(net, 0.797885)], f"{x}.inner")
    share = net.node("Add", [number(net, 1), net.node("Tanh", [inner], f"{x}.tanh")], f"{x}.share")
    return net.node("Mul", [net.node("Mul", [number(net, 0.5), x], f"{x}.half"), share], f"{x}.gelu")


def relu(net: Net, x: str) -> str:
    return net.node("Relu", [x], f"{x}.relu")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("activation", [relu, gelu, gelu_by_tanh])
def test_neurons_between_two_layers_go_with_their_biases(activation: Callable[[Net, str], str], first: bool) -> None:
    net = Net()
    hidden = activation(net, linear(net, "a", tokens(net), (4, 8), DEAD, first))
    linear(net, "b", hidden, (8, 4))
    shapes, report = removed(net, "b")
    assert (shapes["a.weight"], shapes["a.bias"], shapes["b.weight"], shapes["b.bias"]) == ((4, 6), (6,), (6, 4), (4,))
    assert (report.removed, report.left) == ({"a.weight": (2, 8)}, {})


def test_a_neuron_with_a_bias_lives_and_a_layer_keeps_one() -> None:
    net = Net()
    a = linear(net, "a", tokens(net), (4, 8), DEAD)
    net.tensors["a.bias"][1] = 0.5
    b = linear(net, "b", relu(net, a), (8, 6), tuple(range(6)))
    linear(net, "c", relu(net, b), (6, 4))
    shapes, report = removed(net, "c")
    assert (shapes["a.weight"], shapes["b.weight"], shapes["c.weight"]) == ((4, 7), (7, 1), (1, 4))
    assert report.left.keys() == {"b.weight"}


def test_what_something_else_reads_stays() -> None:
    net = Net()
    x = tokens(net)
    norm = [net.put("scale", np.ones(8, np.float32)), net.put("shift", np.zeros(8, np.float32))]
    net.node("LayerNormalization", [linear(net, "a", x, (4, 8), DEAD), *norm], "a.norm")
    net.node("Reshape", [linear(net, "b", x, (4, 8), DEAD), net.put("heads", np.array([1, -1, 2, 4]))], "b.heads")
    # Along the tokens, not along the channels.
    net.node("Concat", [linear(net, "c", x, (4, 8), DEAD), "c"], "c.twice", axis=1)
    net.node("Shape", [linear(net, "d", x, (4, 8), DEAD)], "d.shape")
    size = net.node("Gather", ["d.shape", net.put("two", np.array(2))], "d.size")
    net.node("Cast", [size], "d.count", to=TensorProto.FLOAT)
    net.node("MaxPool", [linear(net, "e", x, (4, 8), DEAD)], "e.pool", kernel_shape=[2], strides=[2])
    net.node("Softmax", [linear(net, "f", x, (4, 8), DEAD)], "f.soft", axis=-1)
    shapes, report = removed(net, "a.norm", "b.heads", "c.twice", "d.count", "d", "e.pool", "f.soft")
    assert all(shapes[f"{name}.weight"] == (4, 8) for name in "abcdef")
    assert report.left.keys() == {f"{name}.weight" for name in "abcdef"}


def test_a_layer_over_tokens_reads_the_last_axis_and_a_convolution_does_not() -> None:
    net = Net()
    image = net.conv("a", "x", (10, 3, 3, 3), (1, 5))  # as many channels as the image has columns
    net.node("MatMul", [image, net.put("along.weight", net.rng.normal(0, 1, (10, 6)).astype(np.float32))], "along")
    shapes, report = removed(net, "along")
    assert (shapes["a.weight"][0], shapes["along.weight"]) == (10, (10, 6))
    assert "MatMul reads them" in report.left["a.weight"]


def test_a_product_with_a_vector_of_weights_has_no_channels() -> None:
    net = Net()
    a = linear(net, "a", tokens(net), (4, 8), DEAD)
    net.node("MatMul", [a, net.put("vector", net.rng.normal(0, 1, 8).astype(np.float32))], "sums")
    shapes, report = removed(net, "sums")
    assert shapes["a.weight"] == (4, 8)
    assert report.left.keys() == {"a.weight"}


def test_constants_that_several_nodes_share_are_cut_for_each() -> None:
    net = Net()
    x = tokens(net)
    a, b = (
        net.node("MatMul", [x, name], f"{name}.product")
        for name in (_weight(net, "a", (1,)), _weight(net, "b", (2, 3)))
    )
    shared = net.put("shared", np.zeros(8, np.float32))
    first, second = (net.node("Relu", [net.node("Add", [shared, one], f"{one}.sum")], f"{one}.relu") for one in (a, b))
    linear(net, "c", first, (8, 4))
    linear(net, "d", second, (8, 4))
    shapes, report = removed(net, "c", "d")
    assert report.removed == {"a": (1, 8), "b": (2, 8)}
    assert (shapes["c.weight"], shapes["d.weight"]) == ((7, 4), (6, 4))
    assert "shared" not in shapes
    assert sorted(shape for name, shape in shapes.items() if name.startswith("shared")) == [(6,), (7,)]


def _weight(net: Net, name: str, dead: tuple[int, ...]) -> str:
    weight = net.rng.normal(0, 0.3, (4, 8)).astype(np.float32)
    weight[:, list(dead)] = 0
    return net.put(name, weight)


@pytest.mark.parametrize(
    ("kind", "constant", "goes"),
    [
        ("Add", 0.0, True),
        ("Add", 1.0, False),
        ("Sub", 1.0, False),
        ("Mul", 3.0, True),
        ("Mul", math.inf, False),
        ("Div", 3.0, True),
        ("Div", 0.0, False),
        ("Max", -1.0, True),
        ("Max", 1.0, False),
        ("Min", 1.0, True),
        ("Pow", 2.0, True),
        ("Pow", 0.0, False),
    ],
)
@pytest.mark.parametrize("image", [True, False])
def test_arithmetic_with_a_number_passes_zeros_where_it_makes_zeros(
    kind: str, constant: float, goes: bool, image: bool
) -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), DEAD) if image else linear(net, "a", tokens(net), (4, 8), DEAD)
    if kind == "Pow":
        a = net.node("Abs", [a], "positive")
    made = net.node(kind, [a, number(net, constant)], "made")
    if not math.isfinite(constant) or (kind, constant) == ("Div", 0.0):
        made = net.node("IsNaN", [made], "is_nan")
        made = net.node("Where", [made, number(net, 0), number(net, 1)], "instead")
    if image:
        net.conv("b", made, (4, 8, 1, 1))
    else:
        linear(net, "b", made, (8, 4))
    shapes, report = removed(net, "b")
    assert (shapes["a.weight"][0 if image else 1] == 6) == goes
    assert (report.left == {}) == goes


@pytest.mark.parametrize("kind", ["Sub", "Div"])
def test_a_constant_before_a_difference_or_a_quotient(kind: str) -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), DEAD)
    rest = net.node("Sub", [number(net, 0), a], "minus") if kind == "Sub" else a
    other = rest if kind == "Sub" else net.node("Div", [number(net, 1), a], "inverse")
    net.conv("b", net.node("Clip", [other, number(net, -9), number(net, 9)], "clip"), (4, 8, 1, 1))
    shapes, _ = removed(net, "b")
    assert shapes["a.weight"][0] == (6 if kind == "Sub" else 8)


@pytest.mark.parametrize("sizes", [None, (3, 5)])
def test_parts_of_a_split_lose_their_own_channels(sizes: tuple[int, ...] | None) -> None:
    net = Net()
    net.conv("a", "x", (8, 3, 3, 3), (1, 5, 6))
    given = [] if sizes is None else [net.put("sizes", np.array(sizes))]
    first, second = sizes or (4, 4)
    net.split("a", given, ["left", "right"], axis=1)
    net.conv("b", net.node("Relu", ["left"], "left.relu"), (4, first, 1, 1))
    net.conv("c", "right", (4, second, 3, 3))
    shapes, report = removed(net, "b", "c")
    assert (shapes["a.weight"][0], shapes["b.weight"][1], shapes["c.weight"][1]) == (5, first - 1, second - 2)
    assert report.left == {}


def test_a_part_that_must_stay_holds_its_own_channels_only() -> None:
    net = Net()
    net.conv("a", "x", (8, 3, 3, 3), (1, 5, 6))
    net.split("a", [], ["left", "right"], axis=-3)
    net.conv("b", "left", (4, 4, 1, 1))
    shapes, report = removed(net, "b", "right")
    assert (shapes["a.weight"][0], shapes["b.weight"][1]) == (7, 3)
    assert "a part keeps them" in report.left["a.weight"]


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_a_split_along_another_axis_holds_them(axis: int) -> None:
    net = Net()
    net.conv("a", "x", (8, 3, 3, 3), DEAD)
    sizes = {0: [1], 2: [6, 6], 3: [3, 7]}[axis]
    parts = [f"part{number}" for number in range(len(sizes))]
    net.split("a", [net.put("sizes", np.array(sizes))], parts, axis=axis)
    ends = [net.conv(f"end{part}", part, (4, 8, 1, 1)) for part in parts]
    assert removed(net, *ends)[0]["a.weight"][0] == 8


def test_gates_of_a_split_are_gates() -> None:
    net = Net()
    gate = net.node("Sigmoid", [net.conv("a", "x", (8, 3, 3, 3), (1, 5))], "gate")
    net.split(gate, [], ["left", "right"], axis=1)
    net.conv("b", "left", (4, 4, 1, 1))
    product = net.node("Mul", ["right", net.conv("c", "x", (4, 3, 3, 3), (1,))], "product")
    net.conv("d", product, (4, 4, 1, 1))
    shapes, _ = removed(net, "b", "d")
    assert (shapes["a.weight"][0], shapes["b.weight"][1], shapes["d.weight"][1]) == (7, 4, 3)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_over_tokens_compute_what_they_did(seed: int) -> None:
    rng, net = np.random.default_rng(seed), Net(seed)
    values = {tokens(net): 4}
    for count in range(14):
        name, sources = f"n{count}", list(values)
        source = sources[rng.integers(len(sources))]
        width = values[source]
        kind = rng.choice(["linear", "relu", "gelu", "sum", "number", "vector", "norm", "split", "join"])
        if kind == "relu":
            values[net.node("Relu", [source], name)] = width
        elif kind == "gelu":
            net.node("Identity", [source], name)
            values[gelu(net, name)] = width
        elif kind == "sum" and len(same := [one for one in sources if values[one] == width]) > 1:
            values[net.node("Add", [source, same[rng.integers(len(same))]], name)] = width
        elif kind == "number":
            operator = str(rng.choice(["Add", "Mul", "Div", "Sub", "Max"]))
            values[net.node(operator, [source, number(net, float(rng.choice([0.5, 2])))], name)] = width
        elif kind == "vector":
            vector = np.where(rng.random(width) < 0.5, 0, rng.normal(0, 1, width)).astype(np.float32)
            values[net.node(str(rng.choice(["Add", "Mul"])), [net.put(f"{name}.v", vector), source], name)] = width
        elif kind == "norm":
            scale = [net.put(f"{name}.{one}", np.full(width, value, np.float32)) for one, value in (("s", 1), ("b", 0))]
            values[net.node("LayerNormalization", [source, *scale], name)] = width
        elif kind == "split" and width > 3:
            sizes = net.put(f"{name}.sizes", np.array([2, width - 2]))
            net.split(source, [sizes], [f"{name}a", f"{name}b"], axis=-1)
            values |= {f"{name}a": 2, f"{name}b": width - 2}
        elif kind == "join":
            other = sources[rng.integers(len(sources))]
            values[net.node("Concat", [source, other], name, axis=-1)] = width + values[other]
        else:
            outputs = int(rng.choice([6, 8]))
            dead = tuple(np.flatnonzero(rng.random(outputs) < 0.4).tolist())
            values[linear(net, name, source, (width, outputs), dead)] = outputs
    ends = [linear(net, f"end{count}", one, (values[one], 2)) for count, one in enumerate(list(values)[-3:])]
    removed(net, *ends)
