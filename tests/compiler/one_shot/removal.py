"""Dead channels taken out of a small model, which has to answer as before."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, shape_inference

from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.compiler.one_shot.dead_channels import remove_dead_channels
from tests.compiler.onnx_models import Net

ort = pytest.importorskip("onnxruntime")

Array = npt.NDArray[Any]


def run(model: ModelProto, x: Array) -> list[Array]:
    session = ort.InferenceSession(to_bytes(model), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"x": x})]


def removed(net: Net, *outputs: str) -> tuple[dict[str, tuple[int, ...]], Any]:
    """Shapes of the weights after the pass, and its report; holds the outputs equal."""
    whole = normalize(net.model(*outputs))
    model = whole.proto
    before = model.SerializeToString()
    removed_from, report = remove_dead_channels(whole)
    smaller = removed_from.proto
    assert model.SerializeToString() == before
    shape_inference.infer_shapes(smaller, check_type=True, strict_mode=True)
    x = np.random.default_rng(9).normal(0, 1, (1, 3, 12, 10)).astype(np.float32)
    for expected, found in zip(run(model, x), run(smaller, x), strict=True):
        assert expected.shape == found.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    return {tensor.name: tuple(tensor.dims) for tensor in smaller.graph.initializer}, report
