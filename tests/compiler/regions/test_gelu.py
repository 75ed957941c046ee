"""GELU in regions: the operator, the chains that exporters write instead, and what is none."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.kernels.program.text import text
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_programs, assert_same, noise, regions_of

Chain = Callable[[Graph, str], str]


def number(g: Graph, value: float) -> str:
    return g.constant(f"constant{value:.6g}", value, np.float32)


def erf(g: Graph, x: str, *, divide: bool = True, swap: bool = False) -> str:
    """1 + erf(x / sqrt(2))"""
    scaled = g.op("Div", [x, number(g, math.sqrt(2))], "scaled") if divide else ""
    if not divide:
        scaled = g.op("Mul", [number(g, math.sqrt(0.5)), x], "scaled")
    terms = [g.op("Erf", [scaled], "erf"), number(g, 1)]
    return g.op("Add", terms[::-1] if swap else terms, "gate")


def tanh(g: Graph, x: str, *, cube: str = "Pow", factored: bool = False) -> str:
    """1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))"""
    if factored:
        square = g.op("Mul", [g.op("Mul", [x, number(g, 0.044715)], "k"), x], "square")
        inner = g.op("Mul", [g.op("Mul", [x, number(g, math.sqrt(2 / math.pi))], "c"),
                             g.op("Add", [number(g, 1), square], "sum")], "inner")  # fmt: skip
    else:
        power = g.op("Pow", [x, number(g, 3)], "cube") if cube == "Pow" else ""
        power = power or g.op("Mul", [g.op("Mul", [x, x], "square"), x], "cube")
        term = g.op("Mul", [power, number(g, 0.044715)], "term")
        inner = g.op("Mul", [number(g, math.sqrt(2 / math.pi)), g.op("Add", [x, term], "sum")], "inner")
    return g.op("Add", [number(g, 1), g.op("Tanh", [inner], "tanh")], "gate")


def half_of_product(g: Graph, x: str, gate: str) -> str:
    return g.op("Mul", [g.op("Mul", [x, gate], "product"), number(g, 0.5)], "act")


def product_with_half(g: Graph, x: str, gate: str) -> str:
    return g.op("Mul", [g.op("Mul", [x, number(g, 0.5)], "half"), gate], "act")


def half_of_gate(g: Graph, x: str, gate: str) -> str:
    return g.op("Mul", [x, g.op("Mul", [number(g, 0.5), gate], "half")], "act")


def by_two(g: Graph, x: str, gate: str) -> str:
    return g.op("Div", [g.op("Mul", [gate, x], "product"), number(g, 2)], "act")


CHAINS: dict[str, tuple[str, Chain]] = {
    "the order of PyTorch": ("gelu", lambda g, x: half_of_product(g, x, erf(g, x))),
    "half of x": ("gelu", lambda g, x: product_with_half(g, x, erf(g, x, divide=False))),
    "half of the gate": ("gelu", lambda g, x: half_of_gate(g, x, erf(g, x, swap=True))),
    "divided by two": ("gelu", lambda g, x: by_two(g, x, erf(g, x, divide=False, swap=True))),
    "tanh with Pow": ("gelu_tanh", lambda g, x: product_with_half(g, x, tanh(g, x))),
    "tanh with products": ("gelu_tanh", lambda g, x: half_of_gate(g, x, tanh(g, x, cube="Mul"))),
    "tanh with a factor": ("gelu_tanh", lambda g, x: half_of_product(g, x, tanh(g, x, factored=True))),
    "Gelu": ("gelu", lambda g, x: g.op("Gelu", [x], "act")),
    "Gelu by tanh": ("gelu_tanh", lambda g, x: g.op("Gelu", [x], "act", approximate="tanh")),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_fused_into_the_layer_before_it(name: str) -> None:
    kind, chain = CHAINS[name]
    g = Graph(20 if name.startswith("Gelu") else 17)
    g.conv(chain(g, g.conv("x", "a", (8, 16))), "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert [node.op_type for node in built.graph.node] == ["Region0"]
    lines = text(program_of(built.graph.node[0])).splitlines()
    assert lines[0] == "lth_region 2"
    assert [line.split(" ")[2] for line in lines if line.startswith("t")] == ["load", "conv", "conv"]
    assert [line for line in lines if line.endswith(f"act={kind}")]
    (function,) = [function for function in built.functions if function.name == "Region0"]
    assert next(entry.version for entry in function.opset_import if not entry.domain) == g.opset
    assert_same(packed, built, {"x": 3 * noise(1, 8, 12, 12)})


@pytest.mark.parametrize("name", ["Gelu", "tanh with Pow"])
def test_of_a_sum_it_is_an_instruction_of_its_own(name: str) -> None:
    kind, chain = CHAINS[name]
    g = Graph(20)
    g.conv("x", "a", (8, 16))
    g.op("Add", [chain(g, "a"), "a"], "both")
    g.conv("both", "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert f"act t1 act={kind}" in text(program_of(built.graph.node[0]))
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


def wrong_root(g: Graph, x: str) -> str:
    return g.op("Mul", [g.op("Mul", [x, erf(g, x)], "product"), number(g, 0.51)], "act")


def other_source(g: Graph, x: str) -> str:
    return half_of_product(g, x, erf(g, g.conv("x", "other", (8, 16))))


def read_elsewhere(g: Graph, x: str) -> str:
    act = half_of_product(g, x, erf(g, x))
    return g.op("Add", [act, "erf"], "both")


@pytest.mark.parametrize("chain", [wrong_root, other_source, read_elsewhere])
def test_what_is_no_gelu_is_not_fused(chain: Chain) -> None:
    g = Graph(17)
    g.conv(chain(g, g.conv("x", "a", (8, 16))), "y", (16, 8))
    packed, built, _ = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert all("gelu" not in text(program_of(node)) for node in built.graph.node if is_region(node))
    assert_same(packed, built, {"x": noise(1, 8, 12, 12)})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_between_quantized_tensors(approximate: str) -> None:
    g = QuantizedGraph(20)
    g.qconv(g.bytes_of("x", 0.02, 128), "a", (8, 16), quantized=False)
    g.op("Gelu", ["a"], "b", approximate=approximate)
    g.qconv(g.bytes_of("b", 0.02, 20), "y", (16, 8), quantized=False)
    _, built, plan = regions_of(g.model({"x": ("n", 8, "h", "w")}, ["y"]))
    assert len(plan.regions) == 1
    kind = "gelu" if approximate == "none" else "gelu_tanh"
    (line,) = [line for line in text(program_of(built.graph.node[0])).splitlines() if f"act={kind}" in line]
    assert line.split(" ")[2] == "qconv"
    assert line.endswith("out=u8:0.0199999996:20")
    assert_programs(built, {"x": noise(1, 8, 12, 12)}, slack=0.06)
