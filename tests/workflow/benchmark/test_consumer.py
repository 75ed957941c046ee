"""The program in export/consumers/python runs an artifact where lth_deploy is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from tests.compiler.onnx_models import detector, image, run

CONSUMER = Path(__file__).parents[3] / "export" / "consumers" / "python" / "run.py"


def consume(folder: Path, *arguments: str, python: str = sys.executable) -> str:
    command = [python, "-I", str(CONSUMER), *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def interpreters() -> list[str]:
    """This interpreter, and the one with the oldest supported ONNX Runtime where LTH_OLD_PYTHON names it."""
    old = os.environ.get("LTH_OLD_PYTHON")
    return [sys.executable, *([old] if old else [])]


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("values", ["fp32", "fp16"])
@pytest.mark.parametrize("zeros", [0.5, 0.9, 0.97])
def test_raw_outputs_are_those_of_the_packed_model(python: str, values: str, zeros: float, tmp_path: Path) -> None:
    packed, _ = pack(normalize(detector(zeros, width=64)), values=values)  # type: ignore[arg-type]
    save_model(packed, tmp_path / "model.onnx")
    np.savez(tmp_path / "in.npz", **image())
    consume(tmp_path, "model.onnx", "--feeds", "in.npz", "--save", "out.npz", python=python)
    expected = run(packed, image())
    with np.load(tmp_path / "out.npz") as outputs:
        for name, value in expected.items():
            # Two versions of the runtime may round differently, one and the same must not.
            limit = 0.0 if python == sys.executable else 1e-5
            assert np.abs(outputs[name] - value).max() <= limit


def test_detections_are_printed_with_their_class(tmp_path: Path) -> None:
    from PIL import Image

    constants = {
        "boxes": np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        "scores": np.array([0.9, 0.1], np.float32),
        "labels": np.array([2, 1], np.int64),
    }
    nodes = [helper.make_node("Identity", [f"{name}.value"], [name]) for name in constants]
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])],
        outputs,
        [numpy_helper.from_array(value, f"{name}.value") for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    names = [ClassName(id=1, name="circle"), ClassName(id=7, name="square")]
    write_metadata(model, ArtifactMetadata(classes=names))
    save_model(model, tmp_path / "model.onnx")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    text = consume(tmp_path, "model.onnx", "photo.png")
    assert text.split() == ["photo.png", "square", "0.900", "1.0", "2.0", "3.0", "4.0"]
