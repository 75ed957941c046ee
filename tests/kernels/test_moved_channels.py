"""Shuffles, pads, space to depth and batch norms: beside ONNX Runtime, and on every instruction set."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, run_model
from tests.kernels.stock_node import Array, stock

HEAD = "lth_region 3\ninputs 1\nt0 = load 0 channels=6\n"
SIZES = [(16, 24), (2, 2), (18, 34), (40, 6)]


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_a_shuffle_interleaves_groups(kernels: Path, groups: int) -> None:
    program = parse(f"{HEAD}t1 = shuffle t0 groups={groups}\noutput t1\n")
    for size in SIZES:
        x = noise(2, 6, *size)
        wanted = x.reshape(2, groups, 6 // groups, *size).transpose(0, 2, 1, 3, 4).reshape(x.shape)
        np.testing.assert_array_equal(run(program, [], [x])[0], wanted)
        hold(program, [], [x], kernels)


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 2, 3, 0), (14, 0, 0, 14), (0, 0, 0, 0)])
def test_a_pad_puts_zeros_around_planes(kernels: Path, pads: tuple[int, ...]) -> None:
    program = parse(f"{HEAD}t1 = pad t0 pads={','.join(map(str, pads))}\noutput t1\n")
    for size in [*SIZES, (17, 19), (1, 5)]:
        x = noise(2, 6, *size)
        sides = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
        np.testing.assert_array_equal(run(program, [], [x])[0], stock("Pad", [x, sides])[0])
        hold(program, [], [x], kernels)


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_space_to_depth(kernels: Path, order: str) -> None:
    program = parse(f"{HEAD}t1 = spacetodepth t0 block=2 order={order}\noutput t1\n")
    for size in SIZES:
        x = noise(2, 6, *size)
        places = [(0, 0), (0, 1), (1, 0), (1, 1)] if order == "rows" else [(0, 0), (1, 0), (0, 1), (1, 1)]
        focused = np.concatenate([x[:, :, y::2, z::2] for y, z in places], 1)
        np.testing.assert_array_equal(run(program, [], [x])[0], focused)
        hold(program, [], [x], kernels)
    if order == "rows":
        np.testing.assert_array_equal(run(program, [], [x])[0], stock("SpaceToDepth", [x], blocksize=2)[0])
    larger = parse(f"{HEAD}t1 = spacetodepth t0 block=3 order={order}\noutput t1\n")
    hold(larger, [], [noise(1, 6, 12, 21)], kernels)


@pytest.mark.parametrize("block", [2, 3])
def test_space_to_depth_of_what_was_computed_and_on_the_way_to_bytes(kernels: Path, block: int) -> None:
    """It reads a tensor, or the input of the node itself; the bytes are the same with and without another reader."""
    focus = f"spacetodepth t0 block={block} order=columns"
    computed = parse(f"{HEAD}t1 = act t0 act=relu\nt2 = {focus.replace('t0', 't1')}\noutput t2\n")
    to_bytes = f"{HEAD}t1 = {focus}\nt2 = quantize t1 out=u8:0.021:128\nt3 = dequantize t2\n"
    for size in [(12, 24), (6, 6), (18, 42)]:
        x = noise(2, 6, *size)
        hold(computed, [], [x], kernels)
        (direct,) = run_model(open_model(model_of(parse(f"{to_bytes}output t3\n"), []), kernels), [x])
        apart = run_model(open_model(model_of(parse(f"{to_bytes}output t3\noutput t1\n"), []), kernels), [x])
        np.testing.assert_array_equal(direct, apart[0])
        hold(parse(f"{to_bytes}output t3\n"), [], [x], kernels)


def test_a_batch_norm(kernels: Path) -> None:
    constants = "".join(f"weight dense f32 6 at {number}\n" for number in range(1, 5))
    steps = "t1 = batchnorm t0 w0 w1 w2 w3 epsilon=0.00100000005 act=relu\n"
    program = parse(f"lth_region 3\ninputs 1\n{constants}t0 = load 0 channels=6\n{steps}output t1\n")
    weights = [noise(6), noise(6) + 1, 3 * noise(6), np.abs(noise(6))]
    for size in SIZES:
        x = noise(2, 6, *size)
        wanted = np.maximum(stock("BatchNormalization", [x, *weights], epsilon=0.001)[0], 0)
        np.testing.assert_allclose(run(program, weights, [x])[0], wanted, rtol=1e-5, atol=1e-5)
        hold(program, weights, [x], kernels)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("shuffle t0 groups=4", "4 groups do not divide 6 channels"),
        ("shuffle t0 groups=1", "1 groups, allowed are 2"),
        ("pad t0 pads=0,0,15,0", "allowed are 0 to 14"),
        ("pad t0 pads=0,0,1", "should be 4 numbers"),
        ("spacetodepth t0 block=9 order=rows", "blocks of 9"),
        ("spacetodepth t0 block=2 order=crossed", "order is rows or columns"),
        ("spacetodepth t0 block=2", "order is rows or columns, found 'None'"),
        ("batchnorm t0 w0 w0 w0 w0 epsilon=0.1 act=none", "is no weight of the program"),
    ],
)
def test_what_breaks_a_rule_is_refused(step: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse(f"{HEAD}t1 = {step}\noutput t1\n")


def test_no_whole_number_of_blocks_is_refused() -> None:
    program = parse(f"{HEAD}t1 = spacetodepth t0 block=2 order=rows\noutput t1\n")
    with pytest.raises(ArtifactError, match="no whole number of blocks"):
        run(program, [], [noise(1, 6, 5, 4)])
