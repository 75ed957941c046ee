"""One layer as a model: the dense node of ONNX Runtime, and a region; in float32, and quantized."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.formats.base import BF16
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.conv import Conv, QConv, QGrouped, whole_quads
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import text
from lth_deploy.kernels.program.values import Act, Quantized, Window
from lth_deploy.kernels.program.weights import Weight

Array = np.ndarray
INPUT, OUTPUT = Quantized(0.02, 120), Quantized(0.05, 0)


@dataclass(frozen=True)
class Layer:
    """A square convolution with padding kernel // 2; size: height and width of the input."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    size: int
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """As ONNX stores the weight."""
        return self.outputs, self.inputs // self.groups, self.kernel, self.kernel

    @property
    def pixels(self) -> tuple[int, int]:
        """Values of the input, and of the output."""
        return self.inputs * self.size**2, self.outputs * (-(-self.size // self.stride)) ** 2

    @property
    def macs(self) -> int:
        """Multiplications of the dense layer."""
        return self.pixels[1] * self.inputs // self.groups * self.kernel**2

    @property
    def window(self) -> Window:
        """Kernel, stride and padding."""
        pad = self.kernel // 2
        return Window((self.kernel,) * 2, (self.stride,) * 2, (pad,) * 4)  # type: ignore[arg-type]


def dense_model(layer: Layer, weight: Array) -> ModelProto:
    """Conv and Relu."""
    nodes = [_conv(layer, "x", "w", "c"), helper.make_node("Relu", ["c"], ["y"])]
    return _model(layer, nodes, [weight.astype(np.float32)])


def region_model(layer: Layer, weight: Array) -> ModelProto:
    """The same as a region."""
    conv = Conv(0, 0, None, layer.window, layer.groups, act=Act("relu"))
    weights = (Weight("dense", "f32", weight.shape, None, 1),)
    return _region(layer, weights, (Load(0, layer.inputs), conv), [weight.astype(np.float32)])


def bf16_region_model(layer: Layer, weight: Array) -> ModelProto:
    """The same with a weight of bf16, by which the kernels multiply in bf16."""
    conv = Conv(0, 0, None, layer.window, layer.groups, act=Act("relu"))
    weights = (Weight("dense", "bf16", weight.shape, None, 1),)
    return _region(layer, weights, (Load(0, layer.inputs), conv), [weight.astype(BF16)])


def quantized_model(layer: Layer, weight: Array) -> ModelProto:
    """The QDQ form, which ONNX Runtime makes one QLinearConv. weight: float32 of [OC, IC, kh, kw]."""
    values, scales, bias = quantized(weight)
    steps = [np.float32(INPUT.scale), np.uint8(INPUT.zero), np.float32(OUTPUT.scale), np.uint8(OUTPUT.zero)]
    zeros = np.zeros(len(scales), np.int8)
    constants = [values, scales, zeros, bias, INPUT.scale * scales, zeros.astype(np.int32), *steps]
    names = ["w", "ws", "wz", "b", "bs", "bz", "xs", "xz", "ys", "yz"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        _conv(layer, "xd", "wd", "c", "bd"),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    return _model(layer, nodes, constants, names)


def quantized_region_model(layer: Layer, weight: Array) -> ModelProto:
    """The same as a region."""
    values, scales, bias = quantized(weight)
    weights = (
        Weight("dense", "s8", weight.shape, None, 1),
        Weight("dense", "f32", scales.shape, None, 2),
        Weight("dense", "s32", bias.shape, None, 3),
    )
    operator = QConv if whole_quads(layer.groups, weight.shape) else QGrouped
    conv = operator(1, 0, 1, 2, layer.window, layer.groups, act=Act("relu"), out=OUTPUT)
    return _region(
        layer, weights, (Load(0, layer.inputs), Quantize(0, INPUT), conv, Dequantize(2)), [values, scales, bias]
    )


def quantized(weight: Array) -> tuple[Array, Array, Array]:
    """Symmetric int8 values, scales of the output channels, a bias."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    scales = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    values = np.rint(weight / scales[:, None, None, None]).clip(-127, 127).astype(np.int8)
    return values, scales, np.arange(len(weight), dtype=np.int32)


def _conv(layer: Layer, x: str, weight: str, made: str, *bias: str) -> Any:
    pads = [layer.kernel // 2] * 4
    strides = [layer.stride] * 2
    return helper.make_node("Conv", [x, weight, *bias], [made], strides=strides, pads=pads, group=layer.groups)


def _region(
    layer: Layer, weights: tuple[Weight, ...], steps: tuple[Instruction, ...], constants: Sequence[Array]
) -> ModelProto:
    program = Program(1, weights, steps, (Output(len(steps) - 1),))
    names = [f"w{number}" for number in range(len(constants))]
    node = helper.make_node("Region0", ["x", *names], ["y"], domain=DOMAIN, program=text(program))
    return _model(layer, [node], constants, names)


def _model(layer: Layer, nodes: list[Any], constants: Sequence[Array], names: Sequence[str] = ("w",)) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, layer.inputs, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for array, name in zip(constants, names, strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)
