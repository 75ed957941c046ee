"""Models that behave on every image but bright ones, on which they never end or take all memory."""

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.tiny_artifact import tiny_model

BRIGHT = 200
"""Mean of the pixels of an image that springs the trap."""


def endless() -> ModelProto:
    """Bright images make 2^62 rounds of a loop."""
    infos = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["v"], ["next"])],
        "body",
        [infos("i", TensorProto.INT64, []), infos("go", TensorProto.BOOL, []), infos("v", TensorProto.FLOAT, None)],
        [infos("on", TensorProto.BOOL, []), infos("next", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["trap.count", "trap.yes", "scores.before"], ["scores"], body=body)
    return _trapped([loop], yes=np.array(True), often=np.array(1 << 62))


def enormous() -> ModelProto:
    """Bright images make a tensor of 16 GiB."""
    nodes = [
        helper.make_node("Add", ["trap.count", "trap.one"], ["trap.length"]),
        helper.make_node("Unsqueeze", ["trap.length", "front"], ["trap.shape"]),
        helper.make_node("ConstantOfShape", ["trap.shape"], ["trap.zeros"]),
        helper.make_node("ReduceMax", ["trap.zeros"], ["trap.zero"], keepdims=0),
        helper.make_node("Add", ["scores.before", "trap.zero"], ["scores"]),
    ]
    return _trapped(nodes, one=np.array(1), often=np.array(1 << 32))


def _trapped(nodes: list[object], **constants: np.ndarray) -> ModelProto:
    """The tiny detector; `trap.count` is `often` for a bright image, else 0."""
    model = tiny_model()
    for node in model.graph.node:
        node.output[:] = ["scores.before" if name == "scores" else name for name in node.output]
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["float"], ["trap.mean"], keepdims=0),
            helper.make_node("Greater", ["trap.mean", "trap.bright"], ["trap.sprung"]),
            helper.make_node("Cast", ["trap.sprung"], ["trap.number"], to=TensorProto.INT64),
            helper.make_node("Mul", ["trap.number", "trap.often"], ["trap.count"]),
            *nodes,
        ]
    )
    constants["bright"] = np.array(BRIGHT, np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(value, f"trap.{name}") for name, value in constants.items())
    return model
