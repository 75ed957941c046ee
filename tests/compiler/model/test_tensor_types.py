"""Element types have one vocabulary, and its names are those of ONNX and numpy."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

import lth_deploy
from lth_deploy.compiler.model.tensor_types import is_float, numpy_type, type_name
from lth_deploy.element_types import WEIGHT_TYPES, ElementType, short_name, weight_type

PACKAGE = Path(lth_deploy.__file__).parent


@pytest.mark.parametrize("kind", WEIGHT_TYPES, ids=lambda kind: kind.numpy)
def test_the_names_of_a_type_belong_together(kind: ElementType) -> None:
    assert numpy_type(kind.onnx).name == kind.numpy
    assert type_name(kind.onnx) == {"float32": "float"}.get(kind.numpy, kind.numpy)
    assert short_name(kind.numpy) == kind.short
    assert weight_type(kind.onnx) is kind


def test_types_without_a_shorter_name_keep_theirs() -> None:
    assert short_name("float64") == "float64"
    with pytest.raises(KeyError):
        weight_type(TensorProto.DOUBLE)


def test_floats_of_half_precision_are_floats() -> None:
    found = [is_float(np.dtype(kind)) for kind in ("float64", "float16", ml_dtypes.bfloat16, "int8", "bool")]
    assert found == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        (r"tensor_dtype_to_np_dtype|np_dtype_to_tensor_dtype", "compiler/model/tensor_types.py"),
        (r"^Feeds = ", "arrays.py"),
        (r"^def attribute\(", "compiler/model/attributes.py"),
    ],
)
def test_what_everyone_needs_is_defined_once(pattern: str, place: str) -> None:
    files = [file for file in PACKAGE.rglob("*.py") if re.search(pattern, file.read_text(encoding="utf-8"), re.M)]
    assert [str(file.relative_to(PACKAGE)) for file in files] == [place]
