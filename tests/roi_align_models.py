"""Models of a RoiAlign, and boxes of every kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.compiler.onnx_models import SAME, sparse

ALIGNED = {"coordinate_transformation_mode": "half_pixel"}
TORCHVISION = {"coordinate_transformation_mode": "output_half_pixel"}
BINS = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.25}


def model(said: Mapping[str, Any], opset: int = 18, element: int = TensorProto.FLOAT) -> ModelProto:
    """Pictures pass a node of no interest on their way to a RoiAlign."""
    pooled = helper.make_node("RoiAlign", ["pictures", "b", "i"], ["y"], **said)
    inputs = [
        helper.make_tensor_value_info("x", element, ["n", "c", "h", "w"]),
        helper.make_tensor_value_info("b", element, ["k", 4]),
        helper.make_tensor_value_info("i", TensorProto.INT64, ["k"]),
    ]
    outputs = [helper.make_tensor_value_info("y", element, ["k", "c", "u", "v"])]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["pictures"]), pooled], "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def pooling_detector() -> ModelProto:
    """Two sparse Convs, a RoiAlign of what they make, a Softmax, and an If."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 8, (30, 4)).astype(np.float32) + np.array([0, 0, 12, 12], np.float32)
    stored = {f"w{number}": sparse(rng, (64, 64, 3, 3), 0.9) for number in (0, 1)}
    stored |= {"boxes": corners, "images": np.zeros(30, np.int64)}
    inner = [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)]
    body = helper.make_graph([helper.make_node("Neg", ["plane"], ["same"], "inner")], "body", [], inner)
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "one", **SAME),
        helper.make_node("Relu", ["a"], ["b"], "act"),
        helper.make_node("Conv", ["b", "w1"], ["plane"], "two", **SAME),
        helper.make_node("RoiAlign", ["plane", "boxes", "images"], ["pooled"], "pool", output_height=7, output_width=7),
        helper.make_node("If", ["asked"], ["turned"], "branch", then_branch=body, else_branch=body),
        helper.make_node("Softmax", ["pooled"], ["scores"], "softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, "h", "w"]),
            helper.make_tensor_value_info("asked", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list("nchw")) for name in ("scores", "turned")],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(one: ModelProto, given: Mapping[str, Any], library: Path | None = None, threads: int = 1) -> Any:
    """What ONNX Runtime makes of a model, with a kernel library or without."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if library is not None:
        options.register_custom_ops_library(str(library))
    session = onnxruntime.InferenceSession(one.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(given))[0]


def feeds(channels: int, height: int, width: int, boxes: int = 40) -> dict[str, Any]:
    """Boxes inside, across the rim, outside, empty, and turned inside out."""
    rng = np.random.default_rng(channels)
    corners = rng.uniform(-60, 4 * max(height, width) + 60, (boxes, 4)).astype(np.float32)
    corners[boxes // 2 :, 2:] = corners[boxes // 2 :, :2] + rng.uniform(0, 80, (boxes - boxes // 2, 2))
    corners[-1] = 0
    pictures = rng.standard_normal((2, channels, height, width)).astype(np.float32)
    return {"x": pictures, "b": corners, "i": rng.integers(0, 2, boxes)}
