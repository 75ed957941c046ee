"""Which activations and which arithmetic hand zeros on to the next layer, so that dead channels can leave it."""

import numpy as np
import pytest

from lth_deploy.compiler.model.operators import operators_with
from tests.compiler.one_shot.removal import removed
from tests.compiler.onnx_models import Net


@pytest.mark.parametrize("kind", operators_with(lambda traits: traits.joins_zero_channels))
def test_partners_of_arithmetic_are_zero_where_both_are(kind: str) -> None:
    net = Net()
    a, b = net.conv("a", "x", (6, 3, 3, 3), (1, 4)), net.conv("b", "x", (6, 3, 3, 3), (1, 5))
    net.conv("c", net.node(kind, [a, b], "both"), (4, 6, 1, 1))
    shapes, report = removed(net, "c")
    assert (shapes["a.weight"][0], shapes["b.weight"][0], shapes["c.weight"][1]) == (5, 5, 5)
    assert report.left.keys() == {"a.weight", "b.weight"}


def _silu(net: Net, x: str) -> str:
    return net.node("Mul", [x, net.node("Sigmoid", [x], f"{x}.gate")], f"{x}.silu")


def test_a_product_with_a_gate_loses_what_is_zero_before_both() -> None:
    net = Net()
    a = _silu(net, net.conv("a", "x", (8, 3, 3, 3), (1, 5)))
    pooled = net.node("GlobalAveragePool", [a], "pooled")
    squeezed = net.node("Relu", [net.conv("squeeze", pooled, (4, 8, 1, 1), (2,))], "squeezed")
    gate = net.node("HardSigmoid", [net.conv("excite", squeezed, (8, 4, 1, 1), (1, 5, 7))], "gate")
    half = net.node("Mul", [net.put("half", np.float32(0.5)), net.node("Mul", [gate, a], "gated")], "halved")
    net.conv("b", half, (4, 8, 1, 1))
    shapes, report = removed(net, "b")
    assert shapes["a.weight"] == (6, 3, 3, 3)
    assert (shapes["squeeze.weight"], shapes["excite.weight"]) == ((3, 6, 1, 1), (6, 3, 1, 1))
    assert shapes["b.weight"] == (4, 6, 1, 1)
    assert report.left == {"excite.weight": "1 dead channels stay: what they are added to, or passed on to, keeps them"}


@pytest.mark.parametrize("kind", ["Sigmoid", "Softplus", "Exp", "HardSigmoid"])
def test_a_layer_that_reads_a_gate_reads_no_zeros(kind: str) -> None:
    net = Net()
    gate = net.node(kind, [net.conv("a", "x", (8, 3, 3, 3), (1, 5))], "gate")
    net.conv("b", net.node("MaxPool", [gate], "pool", kernel_shape=[2, 2]), (6, 8, 3, 3), (0,))
    net.tensors["b.weight"][3, [0, 2, 3, 4, 6, 7]] = 0  # reads dead channels only
    net.tensors["b.bias"][3] = 0
    net.conv("c", "b", (4, 6, 1, 1))
    shapes, report = removed(net, "c")
    assert (shapes["a.weight"][0], shapes["b.weight"][0]) == (8, 5)
    assert report.left.keys() == {"a.weight"}


def test_sums_and_parts_with_a_gate_are_no_zeros_and_two_gates_make_none() -> None:
    net = Net()
    names = [net.conv(name, "x", (6, 3, 3, 3), (1, 4)) for name in "abcdef"]
    gates = [net.node("Sigmoid", [name], f"{name}.gate") for name in names]
    net.conv("g", net.node("Add", [gates[0], names[1]], "sum"), (4, 6, 1, 1))
    net.conv("h", net.node("Concat", [gates[2], names[3]], "joined", axis=1), (4, 12, 1, 1))
    net.conv("i", net.node("Mul", [gates[4], gates[5]], "product"), (4, 6, 1, 1))
    shapes, report = removed(net, "g", "h", "i")
    assert [shapes[f"{name}.weight"][0] for name in names] == [6] * 6
    assert report.left.keys() == {f"{name}.weight" for name in names}


@pytest.mark.parametrize("kind", ["Tanh", "Elu", "Mish", "Softsign", "Erf", "HardSwish", "LeakyRelu"])
def test_activations_that_leave_zero_alone_pass_dead_channels_on(kind: str) -> None:
    net = Net()
    net.conv("b", net.node(kind, [net.conv("a", "x", (8, 3, 3, 3), (1, 5))], "active"), (4, 8, 1, 1))
    shapes, report = removed(net, "b")
    assert (shapes["a.weight"], shapes["b.weight"], report.left) == ((6, 3, 3, 3), (4, 6, 1, 1), {})
