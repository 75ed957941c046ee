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

import numpy as np
from onnx import FunctionProto, TensorProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN, operator_of, position_input
from lth_deploy.compiler.artifact.function_builder import ROW, BodyBuilder
from lth_deploy.formats import FORMATS
from lth_deploy.structures import SINGLE

ADD_REDUCTION_OPSET = 16
"""First opset whose ScatterElements can add."""


def body(coding: str, opset: int, *, int8: bool = False) -> FunctionProto:
    """The function that decodes `coding`, in operators of standard opset `opset` (13 or later)."""
    b = BodyBuilder(FORMATS.get(coding).block, int8)
    b.common()
    b.shape_attribute()
    positions = coding.partition(":")[0]
    if positions == "bitmask":
        _bitmask(b)
    elif positions == "steps8":
        _steps(b)
    else:
        _gaps(b, int(positions.removeprefix("gaps")), opset)
    return helper.make_function(
        DOMAIN,
        operator_of(coding, int8),
        [position_input(coding), "values"],
        ["weight"],
        b.nodes,
        [helper.make_opsetid("", opset)],
        ["shape"],
    )


def _bitmask(b: BodyBuilder) -> None:
    """Look up the rank of each set bit in its byte, add the values before that byte, and gather.

    An unset bit must give 0: its table entry is the number of values, which points into a tail of zeros
    behind the values that is long enough for every byte.
    """
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
    b.op("Shape", b.units, "unit_shape")
    b.op("Gather", "unit_shape zero", "kept")
    b.op("Add", "kept one", "tail_length")
    b.empty_units("tail_length", "tail")
    b.op("Concat", f"{b.units} tail", "source", axis=0)
    b.op("Cast", "kept", "tail_start", to=TensorProto.INT32)
    b.op("Mul", "unset tail_start", "to_tail")
    b.op("Add", "rank to_tail", "table")
    b.padded("bits", ROW, 0)
    b.op("Cast", "padded", "byte", to=TensorProto.INT32)
    b.op("Gather", "counts byte", "bits_set")
    b.op("Reshape", "bits_set rows", "own")
    b.op("Cast", "own", "set_rows", to=TensorProto.FLOAT)
    b.running_sums("set_rows", "set")
    b.op("Sub", "set_inside own", "before_in_row")
    b.op("Add", "before_in_row set_before", "before")
    b.op("Reshape", "before column", "before_column")
    b.op("Gather", "table byte", "in_byte")
    b.op("Add", "in_byte before_column", "index")
    b.op("Gather", "source index", "gathered")
    b.unit_list("gathered", "unpadded")
    b.op("Slice", "unpadded zero count", "cut")
    b.weight("cut")


def _steps(b: BodyBuilder) -> None:
    """Sum the steps to positions, and scatter the values: there is one for each step.

    Gemm adds each place's own number to the running sum of its row: a step is one more than its code.
    """
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
    b.empty_units("count", "empty")
    if b.block == SINGLE:
        b.op("ScatterElements", f"empty position {b.units}", "scattered", axis=0)
    else:
        _scatter_rows(b, "empty position", b.units, "scattered")
    b.weight("scattered")


def _gaps(b: BodyBuilder, width: int, opset: int) -> None:
    """Sum the steps to positions, and scatter the values; escapes scatter a zero where a zero belongs."""
    b.padded("gaps", ROW * width // 8, 255)
    _codes(b, width)
    b.constant("escape", (1 << width) - 1, np.float32)
    b.constant("minus_one", -1, np.int32)
    b.constant("one_unit", [1], np.int64)
    b.empty_units("one_unit", "no_unit")
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
    b.op("Concat", f"no_unit {b.units}", "source", axis=0)
    b.op("Gather", "source index", "update_rows")
    b.op("Reshape", "position_rows flat", "position")
    b.unit_list("update_rows", "update")
    if b.block == SINGLE:
        _scatter(b, width, opset)
    else:
        _scatter_blocks(b)
    b.weight("scattered")


def _codes(b: BodyBuilder, width: int) -> None:
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


def _scatter(b: BodyBuilder, width: int, opset: int) -> None:
    """`scattered`: [count] with the updates in place; padding codes point behind the end."""
    if opset >= ADD_REDUCTION_OPSET:
        # Added to the last weight, the zeros of padding codes do no harm: no room behind the end is needed.
        b.op("Cast", "count", "length", to=TensorProto.INT32)
        b.op("Add", "length minus_one", "end")
        b.op("Min", "position end", "inside")
        b.zeros("count", "empty")
        b.op("ScatterElements", "empty inside update", "scattered", axis=0, reduction="add")
        return
    group = math.lcm(width, 8) // width
    b.constant("room", [(ROW + group) * ((1 << width) - 1)], np.int64)
    b.op("Add", "count room", "roomy")
    b.zeros("roomy", "empty")
    b.op("ScatterElements", "empty position update", "overlong", axis=0)
    b.op("Slice", "overlong zero count", "scattered")


def _scatter_blocks(b: BodyBuilder) -> None:
    """`scattered`: the blocks in place. All padding codes write to one block behind the end, which is cut off.

    Adding their zeros to the last block would do for single weights; ScatterND adds from several threads.
    """
    b.op("Add", "count one_unit", "roomy")
    b.empty_units("roomy", "empty")
    b.op("Cast", "count", "end", to=TensorProto.INT32)
    b.op("Min", "position end", "inside")
    _scatter_rows(b, "empty inside", "update", "overlong")
    b.op("Slice", "overlong zero count", "scattered")


def _scatter_rows(b: BodyBuilder, into_at: str, rows: str, output: str) -> None:
    into, at = into_at.split()
    b.op("Cast", at, "at", to=TensorProto.INT64)
    b.op("Reshape", "at column", "at_column")
    b.op("ScatterND", f"{into} at_column {rows}", output)
