"""Dead channels leave a model, and its outputs are what they were."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.compiler.one_shot.removal import removed
from tests.compiler.onnx_models import SAME, Net


def test_a_chain_loses_filters_and_what_reads_them() -> None:
    net = Net()
    a = net.node("Relu", [net.conv("a", "x", (8, 3, 3, 3), (1, 5))], "a.relu")
    a = net.node("MaxPool", [a], "a.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    six = net.node("Clip", [net.conv("b", a, (6, 8, 3, 3), (0,), bias=False), *_bounds(net, 0, 6)], "b.clip")
    net.conv("c", six, (4, 6, 1, 1))
    shapes, report = removed(net, "c")
    assert (shapes["a.weight"], shapes["a.bias"]) == ((6, 3, 3, 3), (6,))
    assert (shapes["b.weight"], shapes["c.weight"]) == ((5, 6, 3, 3), (4, 5, 1, 1))
    assert report.removed == {"a.weight": (2, 8), "b.weight": (1, 6)}
    assert report.left == {}


def _bounds(net: Net, low: float, high: float) -> list[str]:
    return [net.put(f"bound{value}", np.float32(value)) for value in (low, high)]


def test_a_filter_with_a_bias_lives_and_so_does_what_clips_to_more_than_zero() -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), (1, 5))
    net.tensors["a.bias"][1] = 0.5
    b = net.conv("b", net.node("Relu", [a], "a.relu"), (6, 8, 3, 3), (2,))
    net.conv("c", net.node("Clip", [b, *_bounds(net, 1, 6)], "b.clip"), (4, 6, 1, 1))
    shapes, report = removed(net, "c")
    assert shapes["a.weight"] == (7, 3, 3, 3)
    assert shapes["b.weight"] == (6, 7, 3, 3)
    assert report.left == {"b.weight": "1 dead channels stay: Clip reads them"}


def test_what_reads_only_dead_channels_is_dead_too() -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), (1, 5))
    b = net.conv("b", a, (6, 8, 3, 3))
    net.tensors["b.weight"][3, [0, 2, 3, 4, 6, 7]] = 0
    net.tensors["b.bias"][3] = 0
    net.conv("c", b, (4, 6, 1, 1))
    shapes, _ = removed(net, "c")
    assert shapes["b.weight"] == (5, 6, 3, 3)


def test_partners_of_a_sum_lose_what_is_dead_in_all() -> None:
    net = Net()
    stem = net.node("Relu", [net.conv("stem", "x", (8, 3, 3, 3), (1, 2, 5))], "stem.relu")
    inner = net.node("Relu", [net.conv("inner", stem, (6, 8, 3, 3), (0, 4))], "inner.relu")
    outer = net.conv("outer", inner, (8, 6, 3, 3), (1, 5, 7))
    net.conv("end", net.node("Relu", [net.node("Add", [outer, stem], "sum")], "sum.relu"), (4, 8, 1, 1))
    shapes, report = removed(net, "end")
    assert shapes["stem.weight"] == (6, 3, 3, 3)
    assert shapes["inner.weight"] == (4, 6, 3, 3)
    assert shapes["outer.weight"] == (6, 4, 3, 3)
    assert shapes["end.weight"] == (4, 6, 1, 1)
    assert set(report.left) == {"stem.weight", "outer.weight"}


def test_joined_channels_go_from_their_own_part() -> None:
    net = Net()
    a, b = net.conv("a", "x", (5, 3, 3, 3), (1,)), net.conv("b", "x", (7, 3, 3, 3), (0, 6))
    net.conv("c", net.node("Relu", [net.node("Concat", [a, b], "joined", axis=1)], "relu"), (4, 12, 3, 3))
    shapes, _ = removed(net, "c")
    assert (shapes["a.weight"][0], shapes["b.weight"][0], shapes["c.weight"][1]) == (4, 5, 9)


def test_depth_wise_layers_follow_and_grouped_ones_hold() -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), (1, 5))
    b = net.conv("depthwise", net.node("Relu", [a], "a.relu"), (8, 1, 3, 3), (1, 5, 6), group=8)
    c = net.conv("grouped", net.conv("c", b, (8, 8, 1, 1), (3,)), (6, 4, 3, 3), (0,), group=2)
    net.conv("d", c, (4, 6, 1, 1))
    shapes, report = removed(net, "d")
    assert shapes["a.weight"] == (6, 3, 3, 3)
    assert shapes["depthwise.weight"] == (6, 1, 3, 3)
    assert shapes["c.weight"] == (8, 6, 1, 1)
    assert shapes["grouped.weight"] == (6, 4, 3, 3)
    assert "grouped convolution" in report.left["c.weight"]


@pytest.mark.parametrize("flip", [False, True])
def test_fully_connected_layers_follow_behind_a_pool(flip: bool) -> None:
    net = Net()
    a = net.node("GlobalAveragePool", [net.conv("a", "x", (8, 3, 3, 3), (1, 5))], "pool")
    b = net.node("Relu", [net.gemm("b", net.node("Flatten", [a], "flat"), (10, 8), (0, 9), flip)], "b.relu")
    net.gemm("c", net.node("Flatten", [b], "flat2"), (4, 10), flip=flip)
    shapes, _ = removed(net, "c")
    assert shapes["a.weight"] == (6, 3, 3, 3)
    assert shapes["b.weight"] == ((6, 8) if flip else (8, 6))
    assert shapes["c.weight"] == ((8, 4) if flip else (4, 8))


def test_a_weight_used_twice_loses_what_both_uses_can() -> None:
    net = Net()
    a, b = net.conv("a", "x", (8, 3, 3, 3), (1, 2)), net.conv("b", "x", (8, 3, 3, 3), (2, 3), strides=[2, 2])
    first = net.conv("shared", a, (6, 8, 3, 3), (0, 4))
    second = net.node("Conv", [b, "shared.weight", "shared.bias"], "shared2", **SAME)
    net.conv("c", first, (4, 6, 1, 1))
    net.conv("d", second, (4, 6, 1, 1))
    shapes, _ = removed(net, "c", "d")
    assert shapes["shared.weight"] == (4, 7, 3, 3)
    assert shapes["a.weight"][0] == shapes["b.weight"][0] == 7


def test_a_bias_that_different_weights_share_ties_them_not() -> None:
    """torch's exporter stores equal biases once."""
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), (1, 2), bias=False)
    b = net.conv("b", a, (8, 8, 3, 3), (2, 3), bias=False)
    net.conv("c", b, (4, 8, 1, 1))
    net.put("zeros", np.zeros(8, np.float32))
    for node in net.nodes[:2]:
        node.input.append("zeros")
    shapes, _ = removed(net, "c")
    assert shapes["a.weight"] == (6, 3, 3, 3)
    assert shapes["b.weight"] == (6, 6, 3, 3)
    assert shapes["c.weight"] == (4, 6, 1, 1)


def test_what_the_model_returns_or_reshapes_stays() -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), (1,))
    b = net.conv("b", "x", (8, 3, 3, 3), (2,))
    net.node("Reshape", [b, net.put("rows", np.array([1, -1]))], "flat")
    c = net.conv("c", a, (8, 8, 3, 3), (3,))
    size = net.node("Gather", [net.node("Shape", [c], "shape"), net.put("one", np.array(1))], "channels")
    net.node("Cast", [size], "count", to=TensorProto.FLOAT)
    net.conv("d", c, (4, 8, 1, 1))
    shapes, report = removed(net, "a", "flat", "count", "d")
    assert all(shapes[f"{name}.weight"][0] == 8 for name in "abc")
    assert "outside of the graph" in report.left["a.weight"]
    assert "Reshape" in report.left["b.weight"]
    assert "Shape" in report.left["c.weight"]


def test_a_resize_to_another_map_follows_its_channels() -> None:
    net = Net()
    top = net.conv("top", "x", (8, 3, 3, 3), (1, 5), strides=[2, 2])
    below = net.conv("below", "x", (8, 3, 3, 3), (1, 5))
    first, second = net.put("two", np.array([2])), net.put("four", np.array([4]))
    zero = net.put("zero", np.array([0]))
    kept = net.node("Slice", [net.node("Shape", [top], "top.shape"), zero, first], "top.kept")
    sides = net.node("Slice", [net.node("Shape", [below], "below.shape"), first, second], "below.sides")
    size = net.node("Concat", [kept, sides], "size", axis=0)
    up = net.node("Resize", [top, "", "", size], "up", mode="nearest")
    net.conv("end", net.node("Add", [below, up], "sum"), (4, 8, 3, 3))
    shapes, report = removed(net, "end")
    assert shapes["top.weight"] == shapes["below.weight"] == (6, 3, 3, 3)
    assert report.left == {}


def test_a_resize_by_scales_in_two_parts_follows_its_channels() -> None:
    net = Net()
    ones, twos = (net.put(name, np.full(2, value, np.float32)) for name, value in (("ones", 1), ("twos", 2)))
    scales = net.node("Concat", [ones, twos], "scales", axis=0)
    up = net.node("Resize", [net.conv("a", "x", (8, 3, 3, 3), (1, 5)), "", scales], "up", mode="nearest")
    net.conv("b", up, (4, 8, 3, 3))
    assert removed(net, "b")[0]["b.weight"] == (4, 6, 3, 3)


def test_a_layer_keeps_a_channel_and_a_branch_holds_what_it_reads() -> None:
    net = Net()
    a = net.conv("a", "x", (8, 3, 3, 3), tuple(range(8)))
    b = net.conv("b", a, (4, 8, 3, 3))
    c = net.conv("c", "x", (4, 3, 3, 3), (1,))
    inner = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    net.node("If", [net.put("yes", np.array(True))], "chosen", then_branch=inner, else_branch=inner)
    net.conv("d", c, (4, 4, 1, 1))
    shapes, report = removed(net, b, "chosen", "d")
    assert (shapes["a.weight"], shapes["b.weight"]) == ((1, 3, 3, 3), (4, 1, 3, 3))
    assert "outside of the graph" in report.left["c.weight"]


def test_a_sound_model_comes_back_as_it_was() -> None:
    net = Net()
    net.conv("b", net.conv("a", "x", (8, 3, 3, 3)), (4, 8, 3, 3))
    shapes, report = removed(net, "b")
    assert shapes["a.weight"] == (8, 3, 3, 3)
    assert (report.removed, report.left) == ({}, {})


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_compute_what_they_did(seed: int) -> None:
    rng, net = np.random.default_rng(seed), Net(seed)
    values = {"x": 3}
    for number in range(14):
        name, sources = f"n{number}", list(values)
        source = sources[rng.integers(len(sources))]
        width = values[source]
        kind = rng.choice(["conv", "relu", "add", "concat", "depthwise", "silu", "sigmoid", "mul"])
        if kind in ("add", "mul") and len(same := [one for one in sources if values[one] == width]) > 1:
            values[net.node(str(kind).capitalize(), [source, same[rng.integers(len(same))]], name)] = width
        elif kind == "concat":
            other = sources[rng.integers(len(sources))]
            values[net.node("Concat", [source, other], name, axis=1)] = width + values[other]
        elif kind in ("relu", "sigmoid"):
            values[net.node(str(kind).capitalize(), [source], name)] = width
        elif kind == "silu":
            values[net.node("Mul", [source, net.node("Sigmoid", [source], f"{name}.gate")], name)] = width
        else:
            outputs = width if kind == "depthwise" else int(rng.choice([6, 8]))
            dead = tuple(np.flatnonzero(rng.random(outputs) < 0.4).tolist())
            shape = (outputs, 1 if kind == "depthwise" else width, 3, 3)
            values[net.conv(name, source, shape, dead, group=width if kind == "depthwise" else 1)] = outputs
    outputs = [net.conv(f"end{number}", one, (2, values[one], 1, 1)) for number, one in enumerate(list(values)[-3:])]
    removed(net, *outputs)
