"""Quantized layers that the kernels do not compute: they stay dense, and the plan says why."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import regions_of

PICTURE = {"x": [1, 16, 8, 8]}
ROWS = {"x": [5, 16]}


@pytest.mark.parametrize(
    ("dtype", "reason"), [(ml_dtypes.int4, "its weights are int4"), (ml_dtypes.float8_e4m3fn, "float8e4m3fn")]
)
def test_weights_of_other_types_stay_dense(dtype: Any, reason: str) -> None:
    g = QuantizedGraph(opset=21)
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), zero=128)
    g.tensors["a.weight"] = (g.tensors["a.weight"] // 10).astype(dtype)
    g.tensors["a.weight.zero"] = np.zeros(16).astype(dtype)
    b = g.qconv(a, "b", (16, 16), zero=128)
    _, _, plan = regions_of(g.model(PICTURE, [b]), least=0.3)
    assert reason in plan.outside["a.weight"]
    assert [region.weights for region in plan.regions] == [("b.weight",)]


@pytest.mark.parametrize(
    ("operator", "reason"),
    [("Gemm", "its weights have no zero point"), ("MatMul", "empty quads: dense kernels are faster")],
)
def test_layers_whose_outputs_come_second_stay_dense(operator: str, reason: str) -> None:
    """A Gemm without zero point is a product of floats in a stock runtime; a MatMul needs zeros in blocks."""
    g, shape = QuantizedGraph(), (16, 32)
    values = g.rng.integers(-60, 60, shape) * (g.rng.random(shape) < 0.3)
    g.tensors["w"] = values.astype(np.int8)
    g.tensors["w.scale"] = g.rng.uniform(0.0005, 0.002, shape[1]).astype(np.float32)
    weight = g.op("DequantizeLinear", ["w", "w.scale"], "w.dq", axis=1)
    g.op(operator, [g.bytes_of("x"), weight], "a")
    packed, built, plan = regions_of(g.model(ROWS, [g.bytes_of("a", 0.05, 100)], rank=2), least=0.3)
    assert not plan.regions
    assert reason in plan.outside["w"]
    assert packed.SerializeToString() == built.SerializeToString()
