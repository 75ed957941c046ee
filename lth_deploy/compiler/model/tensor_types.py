"""Element types of ONNX tensors in numpy."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper


def numpy_type(element: int) -> "np.dtype[Any]":
    """The type that numpy, or ml_dtypes, has for an element type of TensorProto.DataType.

    Raises:
        KeyError: there is no such element type.
    """
    return np.dtype(helper.tensor_dtype_to_np_dtype(element))


def type_name(element: int) -> str:
    """`float`, `bfloat16`, `int8` and so on: what ONNX calls an element type, in small letters.

    Raises:
        ValueError: there is no such element type.
    """
    return str(TensorProto.DataType.Name(element)).lower()


def is_float(dtype: "np.dtype[Any]") -> bool:
    """Whether a type of numpy or ml_dtypes has floating point elements of 16 bits or more."""
    return dtype.kind == "f" or dtype.name == "bfloat16"
