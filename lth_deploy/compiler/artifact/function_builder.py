"""What function bodies are put together from: nodes, constants, running sums, and units of weights."""

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.structures import SINGLE, Block

ROW = 64
"""Length of the rows that sums run in; 64 * (2**16 - 1) is still exact in float32."""


class BodyBuilder:
    """Collects the nodes of one function, which makes float32 weights, or int8 of int8.

    units: name of the stored values, with one row for each block, or one value for each single weight.
    """

    def __init__(self, block: Block, int8: bool) -> None:
        self.block = block
        self.int8 = int8
        self.units = "values" if int8 else "floats"
        self.nodes: list[NodeProto] = []

    def op(self, operator: str, inputs: str, output: str, **attributes: Any) -> None:
        """One node; several inputs are separated by spaces."""
        self.nodes.append(helper.make_node(operator, inputs.split(), [output], **attributes))

    def constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic]) -> None:
        """One constant."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype), name)
        self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))

    def shape_attribute(self) -> None:
        """`shape` and `count`, the number of units, int64, from the attribute of the calling node."""
        node = helper.make_node("Constant", [], ["shape"])
        reference = AttributeProto(name="value_ints", ref_attr_name="shape", type=AttributeProto.INTS)
        node.attribute.append(reference)
        self.nodes.append(node)
        if self.block == SINGLE:
            self.op("ReduceProd", "shape", "count", keepdims=1)
            return
        self.op("ReduceProd", "shape", "elements", keepdims=1)
        self.constant("width", [self.block.size], np.int64)
        self.op("Div", "elements width", "count")

    def padded(self, name: str, multiple: int, fill: int) -> None:
        """`padded`: the bytes `name` and 1 to `multiple` bytes `fill`, up to a multiple; never empty."""
        self.constant("multiple", [multiple], np.int64)
        self.constant("fill", fill, np.uint8)
        self.op("Shape", name, "bytes")
        self.op("Mod", "bytes multiple", "beyond")
        self.op("Sub", "multiple beyond", "missing")
        self.op("Concat", "zero missing", "pads", axis=0)
        self.op("Pad", f"{name} pads fill", "padded")

    def pieces_of_bytes(self, width: int) -> None:
        """`pieces`: int32 [256, 8 / width], every byte cut into pieces of `width` bits, lowest first."""
        self.constant("every_byte", np.arange(256), np.uint8)
        self.constant("place_values", 1 << np.arange(0, 8, width), np.int32)
        self.constant("base", 1 << width, np.int32)
        self.op("Cast", "every_byte", "byte_values", to=TensorProto.INT32)
        self.op("Reshape", "byte_values column", "byte_column")
        self.op("Div", "byte_column place_values", "shifted")
        self.op("Mod", "shifted base", "pieces")

    def running_sums(self, source: str, prefix: str) -> None:
        """Of float rows [R, 64]: `<prefix>_inside` a row up to each place, `<prefix>_before` the row."""
        self.op("MatMul", f"{source} triangle", f"{prefix}_sums")
        self.op("Cast", f"{prefix}_sums", f"{prefix}_inside", to=TensorProto.INT32)
        self.op("Gather", f"{prefix}_inside last", f"{prefix}_totals", axis=1)
        self.op("CumSum", f"{prefix}_totals axis", f"{prefix}_before", exclusive=1)

    def common(self) -> None:
        """Constants that all bodies need, and the values as units."""
        self.constant("zero", [0], np.int64)
        self.constant("axis", 0, np.int64)
        self.constant("flat", [-1], np.int64)
        self.constant("rows", [-1, ROW], np.int64)
        self.constant("last", [ROW - 1], np.int64)
        # Tables are computed in the body: spelled out they would be most of a small file.
        self.constant("place", np.arange(ROW), np.int32)
        self.constant("column", [-1, 1], np.int64)
        self.op("Reshape", "place column", "place_column")
        # Not LessOrEqual: before opset 16 its output size is unknown, and ORT then folds nothing behind it.
        self.constant("next_place", np.arange(1, ROW + 1), np.int32)
        self.op("Less", "place_column next_place", "not_after")
        self.op("Cast", "not_after", "triangle", to=TensorProto.FLOAT)
        if not self.int8:
            self.op("Cast", "values", "floats", to=TensorProto.FLOAT)
        if self.block != SINGLE:
            self.constant("unit_rows", [-1, self.block.size], np.int64)
            self.op("Reshape", f"{self.units} unit_rows", "units")
            self.units = "units"

    def zeros(self, shape: str, output: str) -> None:
        """Zeros of the weights' type."""
        value = numpy_helper.from_array(np.zeros(1, np.int8 if self.int8 else np.float32))
        self.op("ConstantOfShape", shape, output, value=value)

    def empty_units(self, count: str, output: str) -> None:
        """As many empty units as the tensor `count` says."""
        if self.block == SINGLE:
            self.zeros(count, output)
            return
        self.op("Concat", f"{count} width", f"{output}_shape", axis=0)
        self.zeros(f"{output}_shape", output)

    def unit_list(self, source: str, output: str) -> None:
        """Units of a table, one after the other."""
        self.op("Reshape", f"{source} {'flat' if self.block == SINGLE else 'unit_rows'}", output)

    def weight(self, units: str) -> None:
        """`weight`, of all its units in their order."""
        if self.block == SINGLE:
            self.op("Reshape", f"{units} shape", "weight")
            return
        self.constant("two", [2], np.int64)
        self.constant("block", [self.block.outputs, self.block.inputs], np.int64)
        self.op("Slice", "shape zero two", "channels")
        self.op("Div", "channels block", "blocks")
        self.op("Concat", "blocks flat block", "cut_shape", axis=0)
        self.op("Reshape", f"{units} cut_shape", "cut_weight")
        self.op("Transpose", "cut_weight", "joined", perm=[0, 3, 1, 4, 2])
        self.op("Reshape", "joined shape", "weight")
