"""Small networks with random weights, node by node: in float32, or between the conversions of a quantized model."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.structures import Block

_SCALE, _ZERO = np.float32(0.03), np.uint8(128)
_WEIGHT_SCALE = np.float32(0.01)
_OPSET = 18

ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh")
"""Activations that are one node; `silu` is two."""


class ProbeGraph:
    """A graph in the making.

    quantized: whether every layer has int8 weights, and every tensor is converted to uint8 and back. zeros, block: of
    the weights of dense layers.
    """

    def __init__(
        self, channels: int, size: int, *, quantized: bool, zeros: float, block: Block, tokens: bool = False
    ) -> None:
        self.quantized, self.zeros, self.block = quantized, zeros, block
        self.shape: tuple[int, ...] = (1, size**2, channels) if tokens else (1, channels, size, size)
        self._rng = np.random.default_rng(0)
        self._nodes: list[Any] = []
        self._tensors: list[TensorProto] = []
        self._channels: dict[str, int] = {}
        self._outputs: list[str] = []
        if quantized:
            for name, value in (("scale", _SCALE), ("zero", _ZERO), ("least", np.uint8(0))):
                self._constant(name, np.asarray(value))
        self.x = self._converted("image", channels)

    def conv(self, x: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: str = "Relu") -> str:
        """A convolution with a bias, and its activation; "" for none."""
        made = self._convolved(x, outputs, kernel, stride, groups)
        if act == "Relu" and self.quantized:
            return self._converted(self._node("Relu", [made]), outputs, "least")
        return self.act(self._converted(made, outputs), act)

    def output_conv(self, x: str, outputs: int, kernel: int) -> None:
        """A convolution that the graph returns: floats, in a quantized graph too."""
        self.output(self._convolved(x, outputs, kernel, 1, 1))

    def _convolved(self, x: str, outputs: int, kernel: int, stride: int, groups: int) -> str:
        inputs = self._channels[x] // groups
        weight = self._weights((outputs, inputs, kernel, kernel), sparse=groups == 1 and inputs > 3)
        return self._node(
            "Conv",
            [x, *self._layer_constants(weight)],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def act(self, x: str, kind: str, *, rounded: bool = True) -> str:
        """An activation; `silu` is x times its sigmoid. rounded: whether a quantized graph rounds the result."""
        if not kind:
            return x
        channels = self._channels[x]
        made = self._node("Mul", [x, self._node("Sigmoid", [x])]) if kind == "silu" else self._node(kind, [x])
        if not rounded:
            self._channels[made] = channels
            return made
        return self._converted(made, channels, "least" if kind == "Relu" else "zero")

    def product(self, x: str, outputs: int, act: str = "") -> str:
        """A product of tokens with a weight of [inputs, outputs], a bias, and an activation."""
        weight = self._weights((outputs, self._channels[x], 1, 1), sparse=True)[:, :, 0, 0].T
        number = len(self._tensors)
        made = self._node("MatMul", [x, self._constant(f"w{number}", np.ascontiguousarray(weight))])
        bias = self._constant(f"b{number}", np.zeros(outputs, np.float32))
        return self.act(self._converted(self._node("Add", [made, bias]), outputs), act)

    def norm(self, x: str) -> str:
        """LayerNormalization over the channels."""
        channels, number = self._channels[x], len(self._tensors)
        values = (np.full(channels, value, np.float32) for value in (1, 0))
        constants = [self._constant(f"n{number}.{i}", value) for i, value in enumerate(values)]
        return self._converted(self._node("LayerNormalization", [x, *constants], axis=-1), channels)

    def add(self, a: str, b: str) -> str:
        """The sum of two tensors."""
        return self._converted(self._node("Add", [a, b]), self._channels[a])

    def multiply(self, a: str, b: str) -> str:
        """The product of two tensors."""
        return self._converted(self._node("Mul", [a, b]), self._channels[a])

    def concat(self, *parts: str) -> str:
        """Tensors joined along their channels."""
        return self._converted(self._node("Concat", [*parts], axis=1), sum(self._channels[part] for part in parts))

    def halves(self, x: str) -> tuple[str, str]:
        """The first and the second half of the channels."""
        half = self._channels[x] // 2
        sizes = self._constant(f"sizes.{len(self._tensors)}", np.array([half, half], np.int64))
        names = [self._fresh(), self._fresh()]
        self._nodes.append(helper.make_node("Split", [x, sizes], names, axis=1))
        first, second = (self._converted(name, half) for name in names)
        return first, second

    def pool(self, x: str, kind: str, kernel: int, stride: int) -> str:
        """MaxPool or AveragePool with padding kernel // 2."""
        made = self._node(kind, [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        return self._converted(made, self._channels[x])

    def gate(self, x: str) -> str:
        """A tensor times a gate for each channel that follows from its mean: a squeeze-and-excitation block."""
        channels = self._channels[x]
        mean = self._converted(self._node("GlobalAveragePool", [x]), channels)
        squeezed = self.conv(mean, max(channels // 4, 4), 1)
        return self.multiply(x, self.conv(squeezed, channels, 1, act="HardSigmoid"))

    def double(self, x: str, mode: str = "nearest") -> str:
        """The plane twice as high and wide."""
        scales = self._constant(f"scales.{len(self._tensors)}", np.array([1, 1, 2, 2], np.float32))
        how = "asymmetric" if mode == "nearest" else "half_pixel"
        extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
        made = self._node("Resize", [x, "", scales], mode=mode, coordinate_transformation_mode=how, **extra)
        return self._converted(made, self._channels[x])

    def pad(self, x: str) -> str:
        """A rim of zeros."""
        pads = self._constant(f"pads.{len(self._tensors)}", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return self._converted(self._node("Pad", [x, pads]), self._channels[x])

    def channels(self, x: str) -> int:
        """The channels of a tensor."""
        return self._channels[x]

    def output(self, x: str) -> None:
        """The graph returns a tensor."""
        self._outputs.append(x)

    def model(self) -> ModelProto:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes,
            "probe",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self._outputs],
            self._tensors,
        )
        opset = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=9)

    def feeds(self) -> dict[str, Array]:
        """Noise for the input."""
        return {"image": self._rng.standard_normal(self.shape).astype(np.float32)}

    def _fresh(self) -> str:
        return f"t{len(self._nodes)}.{len(self._channels)}.{self._rng.integers(1 << 40)}"

    def _node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = self._fresh()
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, name: str, value: Array) -> str:
        self._tensors.append(numpy_helper.from_array(value, name))
        return name

    def _converted(self, x: str, channels: int, zero: str = "zero") -> str:
        if self.quantized:
            x = self._node("DequantizeLinear", [self._node("QuantizeLinear", [x, "scale", zero]), "scale", zero])
        self._channels[x] = channels
        return x

    def _weights(self, shape: tuple[int, ...], *, sparse: bool) -> Array:
        fan = math.prod(shape[1:])
        weight: Array = (self._rng.standard_normal(shape) * math.sqrt(2 / fan)).astype(np.float32)
        if sparse and self.zeros:
            rows, columns = self.block.outputs, self.block.inputs
            blocks = self._rng.random((-(-shape[0] // rows), -(-shape[1] // columns), *shape[2:])) >= self.zeros
            weight *= blocks.repeat(rows, axis=0).repeat(columns, axis=1)[: shape[0], : shape[1]]
        return weight

    def _layer_constants(self, weight: Array) -> list[str]:
        number, count = len(self._tensors), len(weight)
        if not self.quantized:
            return [self._constant(f"w{number}", weight), self._constant(f"b{number}", np.zeros(count, np.float32))]
        values = np.rint(weight / _WEIGHT_SCALE).clip(-127, 127).astype(np.int8)
        values[(weight != 0) & (values == 0)] = 1
        scales: Array = np.full(count, _WEIGHT_SCALE, np.float32)
        integers: list[Array] = [values, np.zeros(count, np.int32)]
        steps: list[Array] = [scales, scales * _SCALE]
        names = []
        for part, whole, step in zip("wb", integers, steps, strict=True):
            arrays: list[Array] = [whole, step, np.zeros(count, whole.dtype)]
            named = [self._constant(f"{part}{number}.{i}", one) for i, one in enumerate(arrays)]
            names.append(self._node("DequantizeLinear", named, axis=0))
        return names
