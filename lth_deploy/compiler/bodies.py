"""Function bodies: how a stock ONNX runtime decodes a packed weight with standard operators.

Every operator in a body has constant inputs and an output size that follows from its input sizes, so ONNX
Runtime folds the whole body into a plain weight when it loads the file. NonZero would be shorter, but is
no longer folded from ONNX Runtime 1.27 on. Where is avoided because it needs one more array of the size of
the weights: all intermediate arrays of all layers live until folding ends.

Running sums are the cost. CumSum takes about 100 ns an element in ONNX Runtime 1.18, so that sums run in
two stages: inside rows of 64 by a product with a triangular matrix (exact: row sums stay below 2**24), and
over the rows by CumSum.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.domain import DOMAIN, operator_of, position_input

ROW = 64
"""Length of the rows that sums run in; 64 * (2**16 - 1) is still exact in float32."""

ADD_REDUCTION_OPSET = 16
"""First opset whose ScatterElements can add."""


class _Body:
    """Collects the nodes of one function."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []

    def op(self, operator: str, inputs: str, output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs.split(), [output], **attributes))

    def constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic]) -> None:
        tensor = numpy_helper.from_array(np.asarray(value, dtype), name)
        self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))

    def shape_attribute(self) -> None:
        """`shape` and `elements`, int64, from the attribute of the calling node."""
        node = helper.make_node("Constant", [], ["shape"])
        reference = AttributeProto(name="value_ints", ref_attr_name="shape", type=AttributeProto.INTS)
        node.attribute.append(reference)
        self.nodes.append(node)
        self.op("ReduceProd", "shape", "elements", keepdims=1)

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
        """Constants that both kinds of body need, and the values as float32."""
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
        self.op("Cast", "values", "floats", to=TensorProto.FLOAT)


def body(coding: str, opset: int) -> FunctionProto:
    """The function that decodes `coding`, in operators of standard opset `opset` (13 or later)."""
    if coding == "bitmask":
        nodes = _bitmask()
    elif coding == "steps8":
        nodes = _steps()
    else:
        nodes = _gaps(int(coding.removeprefix("gaps")), opset)
    return helper.make_function(
        DOMAIN,
        operator_of(coding),
        [position_input(coding), "values"],
        ["weight"],
        nodes,
        [helper.make_opsetid("", opset)],
        ["shape"],
    )


def _bitmask() -> list[NodeProto]:
    """Look up the rank of each set bit in its byte, add the values before that byte, and gather.

    An unset bit must give 0: its table entry is the number of values, which points into a tail of zeros
    behind the values that is long enough for every byte.
    """
    b = _Body()
    b.common()
    b.shape_attribute()
    b.pieces_of_bytes(1)
    b.constant("one", [1], np.int64)
    b.constant("one_bit", 1, np.int32)
    b.constant("bit_axis", 1, np.int64)
    b.constant("highest", 7, np.int64)
    b.op("CumSum", "pieces bit_axis", "rank_in_byte")
    b.op("Gather", "rank_in_byte highest", "counts", axis=1)
    b.op("Sub", "rank_in_byte one_bit", "rank_from_zero")
    b.op("Mul", "rank_from_zero pieces", "rank")
    b.op("Sub", "one_bit pieces", "unset")
    b.op("Shape", "floats", "nonzeros")
    b.op("Add", "nonzeros one", "tail_length")
    b.op("ConstantOfShape", "tail_length", "tail")
    b.op("Concat", "floats tail", "source", axis=0)
    b.op("Cast", "nonzeros", "tail_start", to=TensorProto.INT32)
    b.op("Mul", "unset tail_start", "to_tail")
    b.op("Add", "rank to_tail", "table")
    b.padded("bits", ROW, 0)
    b.op("Cast", "padded", "byte", to=TensorProto.INT32)
    b.op("Gather", "counts byte", "count")
    b.op("Reshape", "count rows", "own")
    b.op("Cast", "own", "count_rows", to=TensorProto.FLOAT)
    b.running_sums("count_rows", "count")
    b.op("Sub", "count_inside own", "before_in_row")
    b.op("Add", "before_in_row count_before", "before")
    b.op("Reshape", "before column", "before_column")
    b.op("Gather", "table byte", "in_byte")
    b.op("Add", "in_byte before_column", "index")
    b.op("Gather", "source index", "gathered")
    b.op("Reshape", "gathered flat", "unpadded")
    b.op("Slice", "unpadded zero elements", "cut")
    b.op("Reshape", "cut shape", "weight")
    return b.nodes


def _steps() -> list[NodeProto]:
    """Sum the steps to positions, and scatter the values: there is one for each step.

    Gemm adds each place's own number to the running sum of its row: a step is one more than its code.
    """
    b = _Body()
    b.common()
    b.shape_attribute()
    b.padded("steps", ROW, 0)
    b.constant("one", 1, np.int32)
    b.op("Cast", "place", "own_step", to=TensorProto.FLOAT)
    b.op("Reshape", "padded rows", "code_rows")
    b.op("Cast", "code_rows", "code", to=TensorProto.FLOAT)
    b.op("Gemm", "code triangle own_step", "sums")
    b.op("Cast", "sums", "inside", to=TensorProto.INT32)
    b.op("Gather", "inside last", "last_place", axis=1)
    b.op("Add", "last_place one", "totals")
    b.op("CumSum", "totals axis", "before", exclusive=1)
    b.op("Add", "inside before", "position_rows")
    b.op("Reshape", "position_rows flat", "positions")
    b.op("Slice", "positions zero bytes", "position")
    b.op("ConstantOfShape", "elements", "empty")
    b.op("ScatterElements", "empty position floats", "scattered", axis=0)
    b.op("Reshape", "scattered shape", "weight")
    return b.nodes


def _gaps(width: int, opset: int) -> list[NodeProto]:
    """Sum the steps to positions, and scatter the values; escapes scatter a zero where a zero belongs."""
    b = _Body()
    b.common()
    b.shape_attribute()
    b.padded("gaps", ROW * width // 8, 255)
    _codes(b, width)
    b.constant("escape", (1 << width) - 1, np.float32)
    b.constant("minus_one", -1, np.int32)
    b.constant("zero_value", [0], np.float32)
    b.op("Less", "code escape", "has_value")
    b.op("Cast", "has_value", "is_value", to=TensorProto.FLOAT)
    b.op("Add", "code is_value", "step")
    b.running_sums("step", "step")
    b.op("Add", "step_before minus_one", "start")
    b.op("Add", "step_inside start", "position_rows")
    b.running_sums("is_value", "rank")
    b.op("Add", "rank_inside rank_before", "rank")
    b.op("Cast", "has_value", "keep", to=TensorProto.INT32)
    b.op("Mul", "rank keep", "index")
    b.op("Concat", "zero_value floats", "source", axis=0)
    b.op("Gather", "source index", "update_rows")
    b.op("Reshape", "position_rows flat", "position")
    b.op("Reshape", "update_rows flat", "update")
    _scatter(b, width, opset)
    b.op("Reshape", "scattered shape", "weight")
    return b.nodes


def _codes(b: _Body, width: int) -> None:
    """`code`: the codes as float32 [R, 64]."""
    if width == 8:
        b.op("Reshape", "padded rows", "code_rows")
        b.op("Cast", "code_rows", "code", to=TensorProto.FLOAT)
        return
    # A byte is looked up as pieces of at most its own width; pieces are put together by a product.
    piece = math.gcd(width, 8)
    b.pieces_of_bytes(piece)
    b.op("Cast", "pieces", "float_pieces", to=TensorProto.FLOAT)
    b.op("Cast", "padded", "byte", to=TensorProto.INT32)
    b.op("Gather", "float_pieces byte", "piece")
    if piece == width:
        b.op("Reshape", "piece rows", "code")
        return
    count = width // piece
    b.constant("per_code", [-1, count], np.int64)
    b.constant("powers", 2.0 ** (piece * np.arange(count))[:, None], np.float32)
    b.op("Reshape", "piece per_code", "piece_rows")
    b.op("MatMul", "piece_rows powers", "code_column")
    b.op("Reshape", "code_column rows", "code")


def _scatter(b: _Body, width: int, opset: int) -> None:
    """`scattered`: float32 [elements] with the updates in place; padding codes point behind the end."""
    if opset >= ADD_REDUCTION_OPSET:
        # Added to the last weight, the zeros of padding codes do no harm: no room behind the end is needed.
        b.op("Cast", "elements", "length", to=TensorProto.INT32)
        b.op("Add", "length minus_one", "end")
        b.op("Min", "position end", "inside")
        b.op("ConstantOfShape", "elements", "empty")
        b.op("ScatterElements", "empty inside update", "scattered", axis=0, reduction="add")
        return
    group = math.lcm(width, 8) // width
    b.constant("room", [(ROW + group) * ((1 << width) - 1)], np.int64)
    b.op("Add", "elements room", "roomy")
    b.op("ConstantOfShape", "roomy", "empty")
    b.op("ScatterElements", "empty position update", "overlong", axis=0)
    b.op("Slice", "overlong zero elements", "scattered")
