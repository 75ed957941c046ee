"""ncnn as an engine: what it converts it computes, and what it cannot take it refuses in words."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.errors import ArtifactError, MissingExtraError, UsageError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.benchmark.peers import installed_peers

NCNN = RUNTIMES.get("ncnn")
needs_ncnn = pytest.mark.skipif(
    importlib.util.find_spec("ncnn") is None or importlib.util.find_spec("pnnx") is None,
    reason="the ncnn extra is not installed",
)
OPEN, FIXED = ["n", 3, "h", "w"], (1, 3, 20, 24)


def network(path: Path, sizes: list[int | str], kind: int = TensorProto.FLOAT, last: str = "Flatten") -> Path:
    """A convolution as the first output, and its means, one row for an image, as the second."""
    weight = np.random.default_rng(3).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["m"]),
        helper.make_node(last, ["m"], ["means"]),
    ]
    if kind == TensorProto.FLOAT:
        nodes[:2] = [helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, sizes)],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [sizes[0], 8, *sizes[2:]]),
            helper.make_tensor_value_info("means", TensorProto.FLOAT, [sizes[0], 8] if last == "Flatten" else None),
        ],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


@needs_ncnn
@pytest.mark.parametrize("sizes", [OPEN, list(FIXED)])
def test_it_computes_what_onnx_runtime_computes(sizes: list[int | str], tmp_path: Path) -> None:
    path = network(tmp_path / "network.onnx", sizes)
    image = np.random.default_rng(4).standard_normal(FIXED).astype(np.float32)
    exact = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})
    session = NCNN.load(path, threads=1, shapes={"image": FIXED} if sizes == OPEN else None)
    for _ in range(2):
        found = session.run({"image": image})
        assert list(found) == ["features", "means"]
        for one, other in zip(found.values(), exact, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
    facts = session.describe()
    assert (facts["name"], facts["threads"]) == ("ncnn", "1")
    assert facts["version"][0].isdigit()


@needs_ncnn
def test_it_refuses_what_it_cannot_take(tmp_path: Path) -> None:
    path = network(tmp_path / "network.onnx", OPEN)
    with pytest.raises(ArtifactError, match="no such model"):
        NCNN.load(tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="leaves sizes of its input 'image' open"):
        NCNN.load(path)
    with pytest.raises(ArtifactError, match="one image at a time"):
        NCNN.load(path, shapes={"image": (2, 3, 20, 24)})
    with pytest.raises(UsageError, match="not in 'bf16'"):
        NCNN.load(path, precision="bf16", shapes={"image": FIXED})
    with pytest.raises(ArtifactError, match="is not float32"):
        NCNN.load(network(tmp_path / "bytes.onnx", list(FIXED), TensorProto.UINT8))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match=r"broken\.onnx"):
        NCNN.load(broken)
    session = NCNN.load(path, threads=1, shapes={"image": FIXED})
    for feeds in ({"image": np.zeros((1, 3, 8, 8), np.float32)}, {"other": np.zeros(FIXED, np.float32)}):
        with pytest.raises(ArtifactError, match=r"network\.onnx takes"):
            session.run(feeds)


@needs_ncnn
def test_an_operator_that_ncnn_lacks_is_an_error(tmp_path: Path) -> None:
    path = network(tmp_path / "network.onnx", list(FIXED), last="NonZero")
    with pytest.raises(ArtifactError, match="leave it out with --engine onnxruntime"):
        NCNN.load(path)


def test_without_its_packages_it_is_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"lth-deploy\[ncnn\]"):
        NCNN.version()
    assert "ncnn" not in installed_peers()
