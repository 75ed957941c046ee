"""Types of the elements of tensors, and what ONNX, numpy, region programs, reports and metadata call each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ElementType:
    """One type.

    onnx: its number in TensorProto.DataType. numpy: the name of numpy, or of ml_dtypes. short: the name in reports,
    options and metadata. program: the name in region programs; None of a type that they do not have.
    """

    onnx: int
    numpy: str
    short: str
    program: str | None = None


FLOAT32 = ElementType(1, "float32", "fp32", "f32")
FLOAT16 = ElementType(10, "float16", "fp16", "f16")
BFLOAT16 = ElementType(16, "bfloat16", "bf16", "bf16")
INT8 = ElementType(3, "int8", "int8", "s8")
INT32 = ElementType(6, "int32", "int32", "s32")

WEIGHT_TYPES = (FLOAT32, FLOAT16, BFLOAT16, INT8, INT32)
"""Types of weights, biases and scales."""

HALF_TYPES = (FLOAT16.onnx, BFLOAT16.onnx)
"""Numbers of the types of half precision."""

_SHORT = {kind.numpy: kind.short for kind in WEIGHT_TYPES}
_OF_NUMBER = {kind.onnx: kind for kind in WEIGHT_TYPES}


def short_name(numpy_name: str) -> str:
    """The name of a type in reports, by that of numpy, which stands for all types that have no shorter one."""
    return _SHORT.get(numpy_name, numpy_name)


def weight_type(onnx: int) -> ElementType:
    """The type of a weight by its number in ONNX.

    Raises:
        KeyError: weights do not have it.
    """
    return _OF_NUMBER[onnx]
