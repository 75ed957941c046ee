"""Random graphs in QDQ form: of every region each instruction is right, in the kernels and in a stock runtime."""

from typing import Any

import numpy as np
import pytest

from lth_deploy.compiler.artifact.extract_region import extract_regions, with_outputs
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import assert_steps, noise, regions_of, run

GRAPHS = 24
"""Seeds 0 to 23; some hundred more were tried by hand."""

Tensor = tuple[str, int, int]
"""Name of what a DequantizeLinear makes, channels, and how often its plane was halved."""


_KINDS = ["conv", "conv", "pointwise", "add", "add", "act", "concat", "plane", "float", "product", "gate", "mean"]


class RandomGraph:
    """Grows a graph of layers between bytes, with branches, several inputs and outputs, and a float layer at times."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = QuantizedGraph(seed=seed)
        self.inputs: dict[str, list[int | str]] = {}
        self.feeds: dict[str, Any] = {}
        self.tensors: list[Tensor] = []
        for number in range(int(self.rng.integers(1, 3))):
            self._input(f"x{number}", int(self.rng.integers(0, 2)), seed + number)
        for number in range(int(self.rng.integers(3, 9))):
            self._grow(f"t{number}")

    def model(self) -> Any:
        read = {name for node in self.graph.nodes for name in node.input}
        made = self.tensors[len(self.inputs) :]
        outputs = [name for name, *_ in made if name not in read]
        if made[0][0] not in outputs and self.rng.random() < 0.3:
            outputs.append(made[0][0])
        return self.graph.model(self.inputs, outputs)

    def _input(self, name: str, level: int, seed: int) -> None:
        open_sizes = self.rng.random() < 0.5
        self.inputs[name] = ["n", 16, f"h{level}", f"w{level}"] if open_sizes else [1, 16, 16 >> level, 24 >> level]
        self.feeds[name] = noise(1, 16, 16 >> level, 24 >> level, seed=seed)
        self._quantize(name, 16, level)

    def _quantize(self, name: str, channels: int, level: int, like: str | None = None) -> None:
        scale = float(self.rng.uniform(0.02, 0.09)) if like is None else self.graph.scales[like]
        zero = int(self.rng.choice([0, 100, 128])) if like is None else int(self.graph.tensors[f"{like}.zero"])
        self.tensors.append((self.graph.bytes_of(name, scale, zero), channels, level))

    def _other(self, level: int, channels: int | None = None) -> Tensor:
        able = [one for one in self.tensors if one[2] == level and channels in (None, one[1])]
        return able[int(self.rng.integers(len(able)))]

    def _grow(self, name: str) -> None:
        graph = self.graph
        last = self.rng.random() < 0.5
        x, channels, level = self.tensors[-1] if last else self.tensors[int(self.rng.integers(len(self.tensors)))]
        match str(self.rng.choice(_KINDS)):
            case "conv" | "pointwise" as kind:
                outputs, kernel = int(self.rng.choice([8, 16])), 3 if kind == "conv" else 1
                made = graph.qconv(x, name, (channels, outputs), kernel, scale=0.05, zero=int(self.rng.choice([0, 90])))
                self.tensors.append((made, outputs, level))
            case "add":
                graph.op("Add", [x, self._other(level, channels)[0]], name)
                self._quantize(name, channels, level)
            case "act":
                graph.op(str(self.rng.choice(["Relu", "LeakyRelu"])), [x], name)
                self._quantize(name, channels, level)
            case "concat":
                other = self._other(level)
                graph.op("Concat", [x, other[0]], name, axis=1)
                self._quantize(name, channels + other[1], level)
            case "product":
                graph.op("Mul", [x, self._other(level, channels)[0]], name)
                self._quantize(name, channels, level)
            case "gate":
                self._gate(x, name, channels)
                self._quantize(name, channels, level)
            case "mean":
                sides = graph.constant(f"{name}.sides", [0, 0, 1, 1, 0, 0, 1, 1])
                graph.op("Pad", [x, sides], f"{name}.padded")
                padded = graph.bytes_of(f"{name}.padded", 0.05, 90)
                graph.op("AveragePool", [padded], name, kernel_shape=[3, 3])
                self._quantize(name, channels, level)
            case "plane":
                self._resize(x, name)
                self._quantize(name, channels, 1 - level, like=x)
            case "float":
                graph.conv(x, name, (channels, 16))
                self._quantize(name, 16, level)

    def _gate(self, x: str, name: str, channels: int) -> None:
        """Squeeze and excitation of an activation without a grid, or with one."""
        graph = self.graph
        s = graph.op("HardSwish", [x], f"{name}.s")
        s = s if self.rng.random() < 0.7 else graph.bytes_of(s, 0.03, 10)
        mean = graph.bytes_of(graph.op("GlobalAveragePool", [s], f"{name}.mean"), 0.01, 20)
        factors = graph.qconv(mean, f"{name}.excite", (channels, channels), 1, scale=0.01, zero=128)
        graph.op("Mul", [s, graph.op("HardSigmoid", [factors], f"{name}.gate")], name)

    def _resize(self, x: str, name: str) -> None:
        level = next(level for tensor, _, level in self.tensors if tensor == x)
        if level == 0:
            self.graph.op("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])
            return
        factors = self.graph.constant(f"{name}.factors", [1, 1, 2, 2], np.float32)
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.graph.op("Resize", [x, "", factors], name, **how)


@pytest.mark.parametrize("seed", range(GRAPHS))
def test_every_instruction_of_a_random_graph_is_right(seed: int) -> None:
    grown = RandomGraph(seed)
    _, built, _ = regions_of(grown.model(), least=0.2, values="fp32")
    names = list(dict.fromkeys(name for region in extract_regions(built) for name in region.inputs))
    if names:
        assert_steps(built, dict(zip(names, run(with_outputs(built, names), grown.feeds), strict=True)))


def test_a_node_that_reads_a_tensor_twice_has_two_conversions() -> None:
    g = QuantizedGraph()
    x = g.qconv(g.bytes_of("x"), "a", (16, 16))
    g.op("Add", [x, x], "s")
    out = g.qconv(g.bytes_of("s", 0.06, 100), "b", (16, 8))
    also = g.qconv(x, "c", (16, 8))
    _, built, plan = regions_of(g.model({"x": [1, 16, 9, 11]}, [out, also]), least=0.3, values="fp32")
    assert len(plan.regions) == 1
    assert_steps(built, {"x": noise(1, 16, 9, 11)})
