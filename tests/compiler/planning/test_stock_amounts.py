"""What operators of the stock runtime have to do, from their shapes."""

import pytest

from lth_deploy.compiler.model.ort_profile import OperatorTime
from lth_deploy.compiler.planning.stock_amounts import Executed, layer_amounts

FLOATS, BYTES = "float", "uint8"


def operator(kind: str, given: tuple[int, ...], made: tuple[int, ...], element: str = FLOATS) -> OperatorTime:
    return OperatorTime("n", kind, 1.0, (given,), (made,), (element, element))


@pytest.mark.parametrize(
    ("given", "made", "element"),
    [((1, 32, 20, 10), (1, 32, 20, 10), FLOATS), ((1, 20, 10, 32), (1, 20, 10, 32), BYTES)],
)
def test_a_depthwise_layer_has_lines_edges_and_pixels(
    given: tuple[int, ...], made: tuple[int, ...], element: str
) -> None:
    prefix = "int8 " if element == BYTES else ""
    found = layer_amounts(operator("QLinearConv" if prefix else "Conv", given, made, element), (32, 1, 5, 5))
    outputs = 32 * 20 * 10
    assert found[f"{prefix}depthwise.macs"] == 25 * outputs
    assert found[f"{prefix}depthwise.lines"] == 32 * 20
    assert found[f"{prefix}depthwise.edges"] == 25 * outputs * 4 / 10
    assert found[f"{prefix}depthwise.pixels"] == 25 * 20 * 10
    assert found[f"{prefix}depthwise.weights"] == 32 * 25


def test_bytes_that_no_cache_holds_are_counted_by_themselves() -> None:
    near = Executed(operator("Mul", (1, 8, 64, 64), (1, 8, 64, 64)), None, None).amounts
    far = Executed(operator("Mul", (1, 8, 256, 256), (1, 8, 256, 256)), None, None).amounts
    small = Executed(operator("QLinearMul", (1, 8, 256, 256), (1, 8, 256, 256), BYTES), None, None).amounts
    assert near is not None
    assert far is not None
    assert small is not None
    assert "far" not in near
    assert far["far"] == 2 * 4 * 8 * 256**2
    assert "far" not in small  # a quarter of the bytes
