"""Random graphs of quantized layers with float operators loose between them: regions in an order, and the same bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lth_deploy.compiler.artifact.extract_region import extract_regions, with_outputs
from tests.compiler.regions.quantized_graphs import QuantizedGraph, silu, split
from tests.compiler.regions.region_graphs import UNMERGED, assert_steps, noise, regions_of, run

SEEDS = (4, 15, 19, 40, 48)
"""In all but 15 a path leaves what would be one region and comes back to it."""

Tensor = tuple[str, int]
"""Name and channels."""


class LooseGraph:
    """Grows a graph in which float operators read quantized tensors and each other, in several branches."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = QuantizedGraph(seed=seed)
        self.quantized: list[Tensor] = [(self.graph.bytes_of("x"), 16)]
        self.floats: list[Tensor] = []
        self.cut: set[str] = set()
        for number in range(int(self.rng.integers(6, 12))):
            self._grow(f"t{number}")

    def model(self) -> Any:
        source, channels = self.quantized[-1]
        last = self.graph.qconv(source, "last", (channels, 8), 1, scale=0.04, zero=90)
        read = {name for node in self.graph.nodes for name in node.input}
        # What nothing reads is returned at times, and otherwise dead.
        loose = [name for name, _ in self.floats if name not in read]
        return self.graph.model({"x": [1, 16, 8, 12]}, [last, *loose[:2]])

    def _one(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[int(self.rng.integers(len(tensors)))]

    def _grow(self, name: str) -> None:
        graph, source = self.graph, self._one(self.quantized)
        x, channels = self._one(self.floats or self.quantized)
        match str(self.rng.choice(["conv", "silu", "hardswish", "split", "concat", "pool", "add", "quantize"])):
            case "conv":
                outputs, zero = int(self.rng.choice([6, 8, 16])), int(self.rng.choice([0, 90]))
                made = graph.qconv(source[0], name, (source[1], outputs), scale=0.05, zero=zero)
                self.quantized.append((made, outputs))
            case "silu":
                self.floats.append((silu(graph, source[0], name), source[1]))
            case "hardswish":
                self.floats.append((graph.op("HardSwish", [source[0]], name), source[1]))
            case "split" if x not in self.cut and channels > 2:
                self.cut.add(x)
                first = int(self.rng.integers(1, channels))
                sizes = [first, channels - first]
                self.floats += zip(split(graph, x, sizes, [f"{name}a", f"{name}b"]), sizes, strict=True)
            case "concat":
                parts = [(x, channels), self._one(self.floats or self.quantized), source]
                joined = graph.op("Concat", [part for part, _ in parts], name, axis=1)
                self.floats.append((joined, sum(count for _, count in parts)))
            case "pool":
                self.floats.append((graph.op("MaxPool", [x], name, kernel_shape=[3, 3], pads=[1] * 4), channels))
            case "add":
                other, _ = self._one([one for one in (*self.floats, *self.quantized) if one[1] == channels])
                self.floats.append((graph.op("Add", [x, other], name), channels))
            case "quantize" if f"{x}.dq" not in graph.scales:
                scale, zero = float(self.rng.uniform(0.02, 0.06)), int(self.rng.choice([0, 14, 100]))
                self.quantized.append((graph.bytes_of(x, scale, zero), channels))


@pytest.mark.parametrize("seed", SEEDS)
def test_regions_among_loose_float_operators_compute_the_same(seed: int) -> None:
    packed, built, _ = regions_of(LooseGraph(seed).model(), least=0.3)
    feeds = {"x": noise(1, 16, 8, 12)}
    for before, after in zip(run(packed, feeds, without=UNMERGED), run(built, feeds, without=UNMERGED), strict=True):
        assert np.array_equal(before, after)
    names = list(dict.fromkeys(name for region in extract_regions(built) for name in region.inputs))
    if names:
        assert_steps(built, dict(zip(names, run(with_outputs(built, names), feeds), strict=True)))
