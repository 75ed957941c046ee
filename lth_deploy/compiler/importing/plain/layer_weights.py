"""Weights of a layer seen as [groups, outputs, inputs, kernel], whatever the order in which the file has them."""

import math
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.affine import Channels, FloatArray
from lth_deploy.compiler.importing.plain.main_graph import standard
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of


@dataclass(frozen=True)
class LayerLayout:
    """Where the axes of a weight are. inputs_first: before the outputs, inside a group. shape: in the file."""

    op_type: str
    shape: tuple[int, ...]
    group: int
    inputs_first: bool

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        if self.op_type == "ConvTranspose":
            return self.shape[1] * self.group
        return self.shape[1] if self.inputs_first else self.shape[0]

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        if self.op_type == "Conv":
            return self.shape[1] * self.group
        return self.shape[0] if self.inputs_first else self.shape[1]

    def grouped(self, weights: Array) -> FloatArray:
        """Weights as float64 [groups, outputs, inputs, kernel]."""
        outputs, inputs = self.outputs // self.group, self.inputs // self.group
        kernel = math.prod(self.shape[2:])
        wide = weights.astype(np.float64)
        if self.inputs_first:
            return wide.reshape(self.group, inputs, outputs, kernel).swapaxes(1, 2)
        return wide.reshape(self.group, outputs, inputs, kernel)

    def as_stored(self, grouped: FloatArray) -> FloatArray:
        """The inverse of `grouped`."""
        return (grouped.swapaxes(1, 2) if self.inputs_first else grouped).reshape(self.shape)

    def by_output(self, values: FloatArray) -> FloatArray:
        """One value an output, to be multiplied with grouped weights."""
        return values.reshape(self.group, -1, 1, 1)

    def by_input(self, values: FloatArray) -> FloatArray:
        """One value an input, to be multiplied with grouped weights."""
        return values.reshape(self.group, 1, -1, 1)

    def applied(self, weights: Array, values: FloatArray) -> FloatArray:
        """What a layer without padding makes of one value for each input channel: one for each output."""
        return np.asarray((self.grouped(weights) * self.by_input(values)).sum((2, 3)).reshape(-1))

    def output_channels(self, rank: int | None) -> Channels | None:
        """Of what the layer makes; rank: of a product of matrices, None where it is not known."""
        if self.op_type == "MatMul":
            return None if rank is None else Channels(self.outputs, rank, rank - 1)
        return Channels(self.outputs, len(self.shape), 1)

    def input_channels(self) -> Channels | None:
        """Of what the layer reads; None where that is not known."""
        return None if self.op_type == "MatMul" else Channels(self.inputs, len(self.shape), 1)


def layout_of(node: NodeProto, weight: tuple[int, ...]) -> LayerLayout | None:
    """The layout of a layer with a weight of this shape; None of other nodes, and where they do not fit.

    A Gemm that scales its product or transposes its input is no layer here.
    """
    if not traits_of(node.op_type).float_layer or not standard(node, node.op_type) or len(weight) < 2 or 0 in weight:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        group = int(attribute(node, "group", 1))
        turned = node.op_type == "ConvTranspose"
        whole = group >= 1 and weight[0] % group == 0 and len(weight) >= 3
        return LayerLayout(node.op_type, weight, group, turned) if whole else None
    if len(weight) != 2:
        return None
    if node.op_type == "MatMul":
        return LayerLayout("MatMul", weight, 1, inputs_first=True)
    scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
    if scaled or attribute(node, "transA", 0):
        return None
    return LayerLayout("Gemm", weight, 1, inputs_first=not attribute(node, "transB", 0))
