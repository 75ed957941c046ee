"""Gates and hard gates in regions: the operators, the chains that exporters write instead, and what is none."""

from collections.abc import Callable

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.quantized_programs import PICTURE, assert_on_bytes, head, only_program, steps_of
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of

Chain = Callable[[Graph, str], str]


def number(g: Graph, value: float) -> str:
    return g.constant(f"constant{value:.6g}", value, np.float32)


def relu6(g: Graph, x: str, name: str = "clip") -> str:
    return g.op("Clip", [x, number(g, 0), number(g, 6)], name)


def shifted(g: Graph, x: str, *, swap: bool = False) -> str:
    return g.op("Add", [number(g, 3), x] if swap else [x, number(g, 3)], "shifted")


def paddle(g: Graph, x: str) -> str:
    """Add, Clip, Mul, Div"""
    return g.op("Div", [g.op("Mul", [x, relu6(g, shifted(g, x))], "product"), number(g, 6)], "act")


def by_a_sixth(g: Graph, x: str) -> str:
    sixth = g.op("Mul", [x, number(g, 1 / 6)], "sixth")
    return g.op("Mul", [sixth, relu6(g, shifted(g, x, swap=True))], "act")


def of_the_gate(g: Graph, x: str) -> str:
    return g.op("Mul", [g.op("Div", [relu6(g, shifted(g, x)), number(g, 6)], "gate"), x], "act")


def of_hard_sigmoid(g: Graph, x: str) -> str:
    return g.op("Mul", [x, g.op("HardSigmoid", [x], "gate", alpha=0.1666667, beta=0.5)], "act")


def clipped_line(g: Graph, x: str) -> str:
    line = g.op("Add", [g.op("Mul", [x, number(g, 1 / 6)], "sixth"), number(g, 0.5)], "line")
    return g.op("Mul", [x, g.op("Clip", [line, number(g, 0), number(g, 1)], "gate")], "act")


def mish(g: Graph, x: str) -> str:
    return g.op("Mul", [x, g.op("Tanh", [g.op("Softplus", [x], "softplus")], "gate")], "act")


def mish_by_log(g: Graph, x: str) -> str:
    sum_ = g.op("Add", [g.op("Exp", [x], "power"), number(g, 1)], "sum")
    return g.op("Mul", [g.op("Tanh", [g.op("Log", [sum_], "log")], "gate"), x], "act")


def line(g: Graph, x: str) -> str:
    return g.op("Sub", [g.op("Mul", [number(g, 0.75), x], "product"), number(g, 2)], "act")


CHAINS: dict[str, tuple[str, Chain]] = {
    "Add, Clip, Mul, Div": ("hardswish", paddle),
    "x / 6 by a product": ("hardswish", by_a_sixth),
    "the gate / 6": ("hardswish", of_the_gate),
    "HardSigmoid": ("hardswish", of_hard_sigmoid),
    "a clipped line": ("hardswish", clipped_line),
    "silu": ("silu", lambda g, x: g.op("Mul", [g.op("Sigmoid", [x], "gate"), x], "act")),
    "mish": ("mish", mish),
    "mish by Log and Exp": ("mish", mish_by_log),
    "Mish": ("mish", lambda g, x: g.op("Mish", [x], "act")),
    "Sigmoid": ("sigmoid", lambda g, x: g.op("Sigmoid", [x], "act")),
    "a lone HardSigmoid": ("hardsigmoid:0.2:0.5", lambda g, x: g.op("HardSigmoid", [x], "act")),
    "Add, Clip, Div": (
        "hardsigmoid:0.166666667:0.5",
        lambda g, x: g.op("Div", [relu6(g, shifted(g, x)), number(g, 6)], "act"),
    ),
    "Tanh": ("tanh", lambda g, x: g.op("Tanh", [x], "act")),
    "Exp": ("exp", lambda g, x: g.op("Exp", [x], "act")),
    "Elu": ("elu:0.5", lambda g, x: g.op("Elu", [x], "act", alpha=0.5)),
    "a line": ("linear:0.75:-2", line),
    "a ReLU and a line": ("relu_linear:0.75:-2", lambda g, x: line(g, g.op("Relu", [x], "relu"))),
    "a difference from a number": ("linear:-1:3", lambda g, x: g.op("Sub", [number(g, 3), x], "act")),
    "a quotient": ("quotient:7", lambda g, x: g.op("Div", [x, number(g, 7)], "act")),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_fused_into_the_layer_before_it(name: str) -> None:
    kind, chain = CHAINS[name]
    g = Graph(18)
    g.conv(chain(g, g.conv("x", "a", (8, 16))), "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    lines = text(program_of(built.graph.node[0])).splitlines()
    assert [line.split(" ")[2] for line in lines if line.startswith("t")] == ["load", "conv", "conv"]
    assert [line for line in lines if line.endswith(f"act={kind}")]
    assert_same(packed, built, {"x": 3 * noise(1, 8, 12, 12)})


def other_bound(g: Graph, x: str) -> str:
    clip = g.op("Clip", [shifted(g, x), number(g, 0), number(g, 5)], "clip")
    return g.op("Div", [g.op("Mul", [x, clip], "product"), number(g, 6)], "act")


def other_source(g: Graph, x: str) -> str:
    gate = relu6(g, shifted(g, g.conv("x", "other", (8, 16))))
    return g.op("Div", [g.op("Mul", [x, gate], "product"), number(g, 6)], "act")


def read_elsewhere(g: Graph, x: str) -> str:
    return g.op("Add", [paddle(g, x), "clip"], "both")


@pytest.mark.parametrize("chain", [other_bound, other_source, read_elsewhere])
def test_what_is_no_hard_swish_has_an_instruction_for_each_node(chain: Chain) -> None:
    g = Graph(18)
    g.conv(chain(g, g.conv("x", "a", (8, 16))), "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    program = text(program_of(built.graph.node[0]))
    assert "hardswish" not in program
    assert "multiply" in program
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_a_constant_with_more_dimensions_is_no_number() -> None:
    g = Graph(18)
    g.conv("x", "a", (8, 16))
    g.op("Mul", ["a", g.constant("five", np.full((1, 1, 1, 1, 1), 5), np.float32)], "y")
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"], rank=5))
    assert all("linear" not in text(program_of(node)) for node in built.graph.node if is_region(node))
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def test_a_relu_and_a_line_between_bytes_are_one_table() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    made = line(g, g.op("Relu", [a], "relu"))
    last = head(g, g.bytes_of(made, 0.02, 100), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert (steps_of(program)["Requantize"], steps_of(program)["Activate"], program.version) == (1, 0, 6)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})
