"""Small ONNX models for the tests of the compiler."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.formats.blocks import join_blocks, split_blocks
from lth_deploy.structures import Block

Array = npt.NDArray[np.generic]

IMAGE = (1, 3, 12, 10)
SAME = {"pads": [1, 1, 1, 1]}


def sparse(rng: np.random.Generator, shape: tuple[int, ...], zeros: float) -> npt.NDArray[np.float32]:
    weights = rng.standard_normal(shape).astype(np.float32) * 0.1
    weights[rng.random(shape) < zeros] = 0
    return weights


def detector(zeros: float = 0.8, opset: int = 18, seed: int = 0, width: int = 32) -> ModelProto:
    """Conv, a depth-wise Conv, one Conv weight used twice, ConvTranspose, MatMul and Gemm."""
    rng = np.random.default_rng(seed)
    weights = {
        "stem.weight": sparse(rng, (width, 3, 3, 3), zeros),
        "depthwise.weight": sparse(rng, (width, 1, 3, 3), zeros),
        "shared.weight": sparse(rng, (width, width, 3, 3), zeros),
        "up.weight": sparse(rng, (width, width, 2, 2), zeros),
        "linear.weight": sparse(rng, (width, 64), zeros),
        "gemm.weight": sparse(rng, (24, 64), zeros),
        "stem.bias": sparse(rng, (width,), 0.0),
        "gemm.bias": sparse(rng, (24,), 0.0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "stem.weight", "stem.bias"], ["a"], "stem", **SAME),
        helper.make_node("Conv", ["a", "depthwise.weight"], ["b"], "depthwise", group=width, **SAME),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", ["c", "shared.weight"], ["d"], "shared_1", strides=[2, 2], **SAME),
        helper.make_node("Conv", ["d", "shared.weight"], ["e"], "shared_2", **SAME),
        helper.make_node("ConvTranspose", ["e", "up.weight"], ["f"], "up", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], "pool"),
        helper.make_node("Flatten", ["g"], ["h"], "flatten"),
        helper.make_node("MatMul", ["h", "linear.weight"], ["i"], "linear"),
        helper.make_node("Gemm", ["i", "gemm.weight", "gemm.bias"], ["scores"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 24]),
            helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, width, "up_h", "up_w"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def conv(weights: Array, opset: int = 18, ir_version: int = 8) -> ModelProto:
    """One Conv with the weight `w`."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights.shape[1], "h", "w_"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weights.shape[0], "oh", "ow"])],
        [numpy_helper.from_array(np.asarray(weights), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def quantized_conv(weights: npt.NDArray[np.int8]) -> ModelProto:
    """A Conv whose weights come from a DequantizeLinear; they are called w."""
    model = conv(weights)
    model.graph.initializer.append(numpy_helper.from_array(np.full(len(weights), 0.01, np.float32), "scale"))
    model.graph.node[0].input[1] = "w.float"
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["w", "scale"], ["w.float"], axis=0))
    return model


def in_blocks(weights: Array, block: Block, zeros: float, rng: np.random.Generator) -> Array:
    """The weights with a share of their blocks set to zero."""
    rows = split_blocks(weights, block).copy()
    rows[rng.random(len(rows)) < zeros] = 0
    return join_blocks(rows, weights.shape, block)


def initializers(model: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run(model: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def image(seed: int = 0, shape: tuple[int, ...] = IMAGE) -> dict[str, Array]:
    return {"image": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


class Net:
    """Builds a model node by node, with random weights in which chosen filters are dead."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.tensors: dict[str, npt.NDArray[Any]] = {}

    def put(self, name: str, value: Any) -> str:
        self.tensors[name] = np.asarray(value)
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def split(self, x: str, sizes: list[str], outputs: list[str], **attributes: Any) -> None:
        """`sizes`: the name of their tensor, or nothing where all parts are alike."""
        attributes |= {} if sizes else {"num_outputs": len(outputs)}
        self.nodes.append(helper.make_node("Split", [x, *sizes], outputs, f"{outputs[0]}.split", **attributes))

    def conv(
        self,
        name: str,
        x: str,
        shape: tuple[int, ...],
        dead: tuple[int, ...] = (),
        bias: bool = True,
        **attributes: Any,
    ) -> str:
        weight = self.rng.normal(0, 0.3, shape).astype(np.float32)
        weight[list(dead)] = 0
        inputs = [x, self.put(f"{name}.weight", weight)]
        if bias:
            values = self.rng.normal(0, 1, shape[0]).astype(np.float32)
            values[list(dead)] = 0
            inputs.append(self.put(f"{name}.bias", values))
        return self.node("Conv", inputs, name, **({**SAME, **attributes} if shape[2] == 3 else attributes))

    def gemm(self, name: str, x: str, shape: tuple[int, int], dead: tuple[int, ...] = (), flip: bool = False) -> str:
        weight, bias = self.rng.normal(0, 0.3, shape).astype(np.float32), np.ones(shape[0], np.float32)
        weight[list(dead)], bias[list(dead)] = 0, 0
        stored = self.put(f"{name}.weight", weight.T.copy() if flip else weight)
        return self.node("Gemm", [x, stored, self.put(f"{name}.bias", bias)], name, transB=int(not flip))

    def model(self, *outputs: str) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
