"""Graphs in QDQ form, as ONNX Runtime's quantizer writes them: every tensor passes a Q and a shared DQ."""

from typing import Any

import numpy as np

from lth_deploy.formats.blocks import has_whole_blocks
from lth_deploy.structures import Block
from tests.compiler.onnx_models import in_blocks
from tests.compiler.regions.region_graphs import Graph


class QuantizedGraph(Graph):
    """Layers with int8 weights of blocks of 1 x 4; activations get the scale and zero point that they are given."""

    def __init__(self, opset: int = 18, seed: int = 0) -> None:
        super().__init__(opset, seed)
        self.scales: dict[str, float] = {}

    def bytes_of(self, x: str, scale: float = 0.03, zero: int = 100, dtype: Any = np.uint8) -> str:
        """A Q and a DQ behind a tensor; the name of what the DQ makes."""
        out = f"{x}.dq"
        self.constant(f"{out}.scale", scale, np.float32)
        self.constant(f"{out}.zero", zero, dtype)
        self.op("QuantizeLinear", [x, f"{out}.scale", f"{out}.zero"], f"{x}.q")
        self.op("DequantizeLinear", [f"{x}.q", f"{out}.scale", f"{out}.zero"], out)
        self.scales[out] = scale
        return out

    def qweight(self, name: str, shape: tuple[int, ...], zeros: float = 0.7, axis: int = 0) -> str:
        """An int8 weight with one scale an output, behind its DQ. shape: outputs first; stored with them at `axis`."""
        values = self.rng.integers(-60, 60, shape).astype(np.int8)
        block = Block(1, 4)
        values = np.asarray(in_blocks(values, block, zeros, self.rng) if has_whole_blocks(shape, block) else values)
        self.tensors[name] = np.ascontiguousarray(values.swapaxes(0, axis))
        self.tensors[f"{name}.scale"] = self.rng.uniform(0.0005, 0.002, shape[0]).astype(np.float32)
        self.tensors[f"{name}.zero"] = np.zeros(shape[0], np.int8)
        return self.op("DequantizeLinear", [name, f"{name}.scale", f"{name}.zero"], f"{name}.dq", axis=axis)

    def qbias(self, name: str, x: str, weight: str) -> str:
        """An int32 bias in units of the product of both scales."""
        scales = self.tensors[f"{weight}.scale"]
        self.tensors[name] = self.rng.integers(-2000, 2000, len(scales)).astype(np.int32)
        self.tensors[f"{name}.scale"] = np.float32(self.scales[x]) * scales
        self.tensors[f"{name}.zero"] = np.zeros(len(scales), np.int32)
        return self.op("DequantizeLinear", [name, f"{name}.scale", f"{name}.zero"], f"{name}.dq", axis=0)

    def qconv(
        self,
        x: str,
        output: str,
        channels: tuple[int, int],
        kernel: int = 3,
        zeros: float = 0.7,
        group: int = 1,
        quantized: bool = True,
        **params: Any,
    ) -> str:
        """A convolution between bytes; the name of what its DQ makes, or of its floats where it is not quantized."""
        weight = f"{output}.weight"
        shape = (channels[1], channels[0] // group, kernel, kernel)
        inputs = [x, self.qweight(weight, shape, zeros), self.qbias(f"{output}.bias", x, weight)]
        self.op("Conv", inputs, output, pads=[kernel // 2] * 4, group=group)
        return self.bytes_of(output, **params) if quantized else output

    def qup(
        self,
        x: str,
        output: str,
        channels: tuple[int, int],
        kernel: tuple[int, int] = (2, 2),
        quantized: bool = True,
        **params: Any,
    ) -> str:
        """A transposed convolution between bytes, as `qconv`."""
        weight = f"{output}.weight"
        shape = (channels[1], channels[0], *kernel)
        inputs = [x, self.qweight(weight, shape, axis=1), self.qbias(f"{output}.bias", x, weight)]
        self.op("ConvTranspose", inputs, output, strides=list(kernel))
        return self.bytes_of(output, **params) if quantized else output


def silu(g: Graph, x: str, output: str) -> str:
    g.op("Sigmoid", [x], f"{output}.gate")
    return g.op("Mul", [x, f"{output}.gate"], output)


def split(g: Graph, x: str, sizes: list[int], outputs: list[str]) -> list[str]:
    g.constant(f"{x}.sizes", sizes)
    g.op("Split", [x, f"{x}.sizes"], outputs, axis=1)
    return outputs
