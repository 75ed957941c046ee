"""QuantizeLinears move in front of what moves values: kernels stay on bytes, a stock runtime makes the same bits."""

import numpy as np
import pytest

from lth_deploy.kernels.program.ops.load import Load
from tests.compiler.regions.quantized_graphs import QuantizedGraph, silu, split
from tests.compiler.regions.quantized_programs import PICTURE, assert_on_bytes, head, only_program, steps_of
from tests.compiler.regions.region_graphs import UNMERGED, assert_same, noise, regions_of, run


@pytest.mark.parametrize("kind", ["silu", "HardSwish", "Gelu", "LeakyRelu"])
def test_an_activation_between_bytes_is_a_table(kind: str) -> None:
    g = QuantizedGraph(opset=20)
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    silu(g, a, "s") if kind == "silu" else g.op(kind, [a], "s")
    last = head(g, g.bytes_of("s", 0.02, 14), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert steps_of(program)["Requantize"] == (kind != "LeakyRelu"), "a layer takes in what its registers can compute"
    if kind != "LeakyRelu":
        assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_an_activation_of_many_readers_is_a_table_for_each_scale() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    s = silu(g, a, "s")
    for number, scale in enumerate((0.02, 0.05)):
        for name, value in (("scale", np.float32(scale)), ("zero", np.uint8(14))):
            g.constant(f"s{number}.{name}", value, value.dtype)
        g.op("QuantizeLinear", [s, f"s{number}.scale", f"s{number}.zero"], f"s{number}.q")
        x = g.op("DequantizeLinear", [f"s{number}.q", f"s{number}.scale", f"s{number}.zero"], f"s{number}")
        g.scales[x] = scale
        g.qconv(x, f"c{number}", (16, 8), scale=0.04, zero=90)
    packed, built, _ = regions_of(g.model(PICTURE, ["c0.dq", "c1.dq"]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert steps_of(program)["Requantize"] == 2
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


@pytest.mark.parametrize("shortcut", [False, True])
def test_a_block_that_splits_and_joins_its_channels(shortcut: bool) -> None:
    """YOLOv8's: halves of one activation, of which one is read by a layer, all joined."""
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    first, second = split(g, silu(g, a, "s"), [8, 8], ["first", "second"])
    b = g.qconv(g.bytes_of(second, 0.02, 14), "b", (8, 8), scale=0.03, zero=120)
    t = silu(g, b, "t")
    if shortcut:
        t = g.op("Add", [t, second], "sum")
    j = g.op("Concat", [first, second, t], "joined", axis=1)
    last = head(g, g.bytes_of(j, 0.025, 11), 24)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    counts = steps_of(program)
    assert (counts["Concat"], counts["Slice"]) == (1, 4 if shortcut else 3)
    if not shortcut:
        assert_on_bytes(program)
        assert counts["Requantize"] == 3, "of a twice, of b once"
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_pools_of_one_another_are_pools_of_bytes() -> None:
    """SPPF: a chain of pools, joined with what they begin with."""
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 8), scale=0.03, zero=128)
    parts = [silu(g, a, "s")]
    for number in range(3):
        parts.append(g.op("MaxPool", parts[-1:], f"p{number}", kernel_shape=[5, 5], pads=[2] * 4))
    j = g.op("Concat", parts, "joined", axis=1)
    last = head(g, g.bytes_of(j, 0.025, 11), 32)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    assert (steps_of(program)["MaxPool"], steps_of(program)["Requantize"]) == (3, 1)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_a_pyramid_is_enlarged_and_joined_in_bytes() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 8), scale=0.03, zero=128)
    fine = silu(g, a, "s")
    pooled = g.bytes_of(g.op("MaxPool", [fine], "p", kernel_shape=[2, 2], strides=[2, 2]), 0.02, 20)
    b = g.qconv(pooled, "b", (8, 8), scale=0.03, zero=128)
    g.constant("none", [], np.float32)
    g.constant("scales", [1, 1, 2, 2], np.float32)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    r = g.op("Resize", [silu(g, b, "t"), "none", "scales"], "r", mode="nearest", **how)
    j = g.op("Concat", [r, fine], "joined", axis=1)
    last = head(g, g.bytes_of(j, 0.025, 11), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last, "r"]), least=0.3)
    program = only_program(built)
    counts = steps_of(program)
    assert (counts["Resize"], counts["MaxPool"], counts["Requantize"]) == (1, 1, 3), "floats are enlarged outside"
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_floats_that_others_read_stay() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    s = silu(g, a, "s")
    last = head(g, g.bytes_of(s, 0.02, 14), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last, s]), least=0.3)
    counts = steps_of(only_program(built))
    assert (counts["Requantize"], counts["Activate"]) == (1, 1)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_a_sum_is_rounded_behind_its_pool_where_that_is_less_work() -> None:
    """A pool with a stride makes fewer values than it reads; floats come from an addition of two activations."""
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 16), scale=0.03, zero=128)
    total = g.op("Add", [silu(g, a, "s"), g.op("HardSwish", [a], "h")], "sum")
    p = g.op("MaxPool", [total], "p", kernel_shape=[2, 2], strides=[2, 2])
    last = head(g, g.bytes_of(p, 0.02, 14), 16)
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    names = [type(step).__name__ for step in only_program(built).instructions if not isinstance(step, Load)]
    assert names.index("MaxPool") < names.index("Quantize", 1)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_layers_outside_of_regions_keep_their_bytes() -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, 64), scale=0.03, zero=128, zeros=0.0)
    s = g.bytes_of(silu(g, a, "s"), 0.02, 14)
    b = g.qconv(s, "b", (64, 64), scale=0.05, zero=128, zeros=0.9)
    t = g.bytes_of(silu(g, b, "t"), 0.02, 14)
    c = g.qconv(t, "c", (64, 64), scale=0.04, zero=90, zeros=0.0)
    packed, built, plan = regions_of(g.model(PICTURE, [c]), least=0.3)
    assert [region.nodes for region in plan.regions] == [("b",)]
    assert steps_of(only_program(built))["Requantize"] == 1
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


@pytest.mark.parametrize("channels", [(5, 6), (8, 3), (4, 7)])
def test_any_numbers_of_channels_are_cut_and_joined_in_bytes(channels: tuple[int, int]) -> None:
    g = QuantizedGraph()
    a = g.qconv(g.bytes_of("x"), "a", (16, sum(channels)), scale=0.03, zero=128)
    first, second = split(g, silu(g, a, "s"), list(channels), ["first", "second"])
    b = g.qconv(g.bytes_of(second, 0.02, 14), "b", (channels[1], 8), scale=0.03, zero=120)
    j = g.op("Concat", [silu(g, b, "t"), second, first], "joined", axis=1)
    last = head(g, g.bytes_of(j, 0.025, 11), 8 + sum(channels))
    packed, built, _ = regions_of(g.model(PICTURE, [last]), least=0.3)
    program = only_program(built)
    assert_on_bytes(program)
    counts = steps_of(program)
    aligned = channels[0] % 4 == 0
    assert (counts["QConcat"], counts["QSlice"], counts["Slice"]) == (1, 0 if aligned else 2, 3 if aligned else 1)
    assert_same(packed, built, {"x": noise(1, 16, 8, 12)})


def test_bits_differ_only_where_a_stock_runtime_merges_two_pairs_of_conversions() -> None:
    """A join reads a layer's bytes in the scale of the joined ones: a second pair of conversions behind the layer's.

    A reader of the first pair that is not needed hides it from the runtime in the file without regions.
    """
    joined, hidden = QuantizedGraph(), QuantizedGraph()
    x = joined.bytes_of("x")
    a, b = (joined.qconv(x, name, (16, 8), scale=0.03, zero=128) for name in ("a", "b"))
    j = joined.op("Concat", [silu(joined, a, "s"), b], "joined", axis=1)
    last = head(joined, joined.bytes_of(j, 0.025, 11), 16)
    x = hidden.bytes_of("x")
    hidden.op("Sigmoid", [x], "unread")
    for model in (
        joined.model(PICTURE, [last]),
        hidden.model(PICTURE, [head(hidden, hidden.bytes_of(x, 0.05, 90), 16)]),
    ):
        packed, built, _ = regions_of(model, least=0.3)
        feeds = {"x": noise(1, 16, 8, 12)}
        (before,), (after,) = (run(given, feeds, without=UNMERGED) for given in (packed, built))
        assert np.array_equal(before, after)
        (as_written,) = run(packed, feeds)
        assert np.array_equal(as_written, after), "the runtime merges no pair in the file without regions"


@pytest.mark.parametrize(("scale", "zero"), [(0.05, 90), (0.025, 11), (0.03, 100)])
def test_conversions_that_a_stock_runtime_does_not_merge_are_what_they_say(scale: float, zero: int) -> None:
    """The whole cause of other bits: one pair of conversions behind another, without any region."""
    g = QuantizedGraph()
    model = g.model(PICTURE, [g.bytes_of(g.bytes_of("x", 0.03, 100), scale, zero)])
    x = noise(1, 16, 8, 12)
    wanted = x
    for step, origin in ((np.float32(0.03), 100), (np.float32(scale), zero)):
        wanted = ((np.clip(np.rint(wanted / step) + origin, 0, 255) - origin) * step).astype(np.float32)
    (unmerged,) = run(model, {"x": x}, without=UNMERGED)
    assert np.array_equal(unmerged, wanted)
    (merged,) = run(model, {"x": x})
    assert np.abs(merged - wanted).max() < 2 * max(scale, 0.03)
