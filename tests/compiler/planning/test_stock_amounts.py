"""What operators of the stock runtime have to do, from their shapes."""

from dataclasses import replace

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
    found = layer_amounts(operator("QLinearConv" if prefix else "Conv", given, made, element), (32, 1, 5, 5), 32)
    outputs = 32 * 20 * 10
    assert found[f"{prefix}depthwise.macs"] == 25 * outputs
    assert found[f"{prefix}depthwise.lines"] == 32 * 20
    assert found[f"{prefix}depthwise.edges"] == 25 * outputs * 4 / 10
    assert found[f"{prefix}depthwise.pixels"] == 25 * 20 * 10
    assert f"{prefix}depthwise.weights" not in found  # too few to count
    product = layer_amounts(operator("Conv", (1, 32, 20, 10), (1, 64, 20, 10)), (64, 32, 1, 1))
    assert product["plain pointwise.weights"] == 64 * 32  # not in blocks of channels


def test_channels_that_the_runtime_fills_up_to_a_block_make_no_groups() -> None:
    """Float activations lie in blocks of 16 channels, or of 8: 24 of them in the place of 32."""
    one = replace(operator("Conv", (1, 32, 20, 10), (1, 80, 20, 10)), name="n_nchwc")
    assert layer_amounts(one, (72, 24, 3, 3))["conv.macs"] == 80 * 200 * 24 * 9
    grouped = layer_amounts(one, (72, 8, 3, 3), 3)
    assert grouped["grouped.macs"] == 80 * 200 * 8 * 9
    assert grouped["grouped.groups"] == 3 * 80 * 200 / 72


@pytest.mark.parametrize("weight", [(256, 64), (64, 256)])
def test_a_product_of_rows_multiplies_its_inputs_however_its_weight_is_stored(weight: tuple[int, int]) -> None:
    found = layer_amounts(operator("MatMul", (1, 300, 256), (1, 300, 64)), weight)
    assert found["rows.macs"] == 300 * 256 * 64


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
