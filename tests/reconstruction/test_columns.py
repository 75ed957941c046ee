"""Columns times rows is what the layer computes, for every form of layer."""

import math

import numpy as np
import pytest
from onnx import helper, numpy_helper

from lth_deploy.reconstruction.columns import Geometry, columns
from tests.compiler.onnx_models import run

CASES = [
    (Geometry("conv", (1, 1), (1, 1, 1, 1), (1, 1)), (6, 4, 3, 3)),
    (Geometry("conv", (2, 1), (0, 1, 2, 0), (1, 2)), (6, 4, 3, 2)),
    (Geometry("conv", (2, 2), (1, 1, 1, 1), (1, 1), group=2), (6, 2, 3, 3)),
    (Geometry("conv", (1, 1), (1, 1, 1, 1), (1, 1), group=4), (4, 1, 3, 3)),
    (Geometry("transposed", (2, 2), (0, 0, 0, 0), (1, 1), (0, 0)), (4, 6, 2, 2)),
    (Geometry("transposed", (2, 3), (1, 0, 0, 2), (1, 2), (1, 0)), (4, 6, 3, 2)),
    (Geometry("transposed", (1, 2), (1, 1, 1, 1), (1, 1), (0, 1), group=2), (4, 3, 3, 3)),
    (Geometry("linear"), (6, 4)),
    (Geometry("matmul"), (4, 6)),
]


def _layer(geometry: Geometry, weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    operator = {"conv": "Conv", "transposed": "ConvTranspose", "linear": "Gemm", "matmul": "MatMul"}[geometry.kind]
    given = {"transB": 1} if geometry.kind == "linear" else {}
    if weights.ndim > 2:
        given = {"strides": geometry.strides, "pads": geometry.pads, "dilations": geometry.dilations}
        given["group"] = geometry.group
    if geometry.kind == "transposed":
        given["output_padding"] = geometry.more
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"], **given)],
        "layer",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    return run(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), {"x": x})["y"]


@pytest.mark.parametrize(("geometry", "shape"), CASES)
def test_rows_times_columns_is_the_output(geometry: Geometry, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(shape).astype(np.float32)
    x = rng.standard_normal((2, 4, 7, 6) if len(shape) > 2 else (5, 4)).astype(np.float32)
    output = _layer(geometry, weights, x)
    cut = columns(x, geometry, shape[2:], 10**6, 0)
    found = cut @ geometry.rows(weights).swapaxes(1, 2)
    wanted = output if output.ndim == 2 else np.moveaxis(output, 1, -1).reshape(-1, output.shape[1])
    np.testing.assert_allclose(np.concatenate(list(found), axis=1), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("geometry", "shape"), CASES)
def test_rows_become_the_weights_again(geometry: Geometry, shape: tuple[int, ...]) -> None:
    weights = np.arange(math.prod(shape)).reshape(shape)
    assert np.array_equal(geometry.weights(geometry.rows(weights), shape), weights)


def test_few_positions_are_drawn_without_repeats_and_repeatably() -> None:
    geometry, x = Geometry("conv", (1, 1), (0, 0, 0, 0), (1, 1)), np.arange(100, dtype=np.float32).reshape(1, 1, 10, 10)
    first, again = (columns(x, geometry, (1, 1), 20, 7) for _ in range(2))
    assert first.shape == (1, 20, 1)
    assert len(np.unique(first)) == 20
    assert np.array_equal(first, again)
    assert not np.array_equal(first, columns(x, geometry, (1, 1), 20, 8))
