"""Differences, products, factors of channels and global means: beside ONNX Runtime, and on every instruction set."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.oracle.reference import run
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import random_constants
from tests.kernels.stock_node import Array, stock

BINARY = """\
lth_region 3
inputs 2
t0 = load 0 channels=5
t1 = load 1 channels=5
t2 = {op} t0 t1 {act}
output t2
"""
SQUEEZE_AND_EXCITE = """\
lth_region 3
inputs 1
weight dense f32 3,8,1,1 at 1
weight dense f32 8,3,1,1 at 2
weight dense f32 8 at 3
weight dense f32 1,8,1,1 at 4
weight dense f16 8,1,1 at 5
t0 = load 0 channels=8
t1 = scale t0 w2 w3 act=relu
t2 = globalaveragepool t1
t3 = conv t2 w0 - kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=relu
t4 = conv t3 w1 w2 kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1 act=hardsigmoid:0.2:0.5
t5 = multiply t1 t4 act=none
t6 = scale t5 - w4 act=none
t7 = scale t6 w2 - act=hardswish
t8 = subtract t7 t5 act=tanh
t9 = multiply t4 t4 act=none
output t8
output t9
"""
SIZES = [(17, 19), (1, 1), (3, 5), (40, 33), (5, 1)]
OPS = {"add": "Add", "subtract": "Sub", "multiply": "Mul"}


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("op", OPS)
def test_of_two_tensors(kernels: Path, op: str) -> None:
    program = parse(BINARY.format(op=op, act="act=none").replace("region 3", "region 1" if op == "add" else "region 3"))
    for size in SIZES:
        x, y = noise(2, 5, *size), noise(2, 5, *size, seed=1)
        np.testing.assert_array_equal(run(program, [], [x, y])[0].astype(np.float32), stock(OPS[op], [x, y])[0])
        hold(program, [], [x, y], kernels)


def test_by_one_pixel_of_each_channel(kernels: Path) -> None:
    program = parse(BINARY.format(op="multiply", act="act=leaky:0.1"))
    for size in SIZES:
        x, y = noise(3, 5, *size), noise(3, 5, 1, 1, seed=1)
        product = stock("Mul", [x, y])[0]
        np.testing.assert_allclose(
            run(program, [], [x, y])[0], np.where(product > 0, product, 0.1 * product), rtol=1e-6
        )
        hold(program, [], [x, y], kernels)


def test_the_mean_of_a_plane_leaves_out_what_lies_beside_it(kernels: Path) -> None:
    source = (
        "lth_region 3\ninputs 1\nt0 = load 0 channels=5\nt1 = act t0 act=exp\nt2 = globalaveragepool t1\noutput t2\n"
    )
    program = parse(source)
    for size in [*SIZES, (13, 61), (2, 2), (64, 64)]:
        x = noise(2, 5, *size)
        exact = np.exp(x.astype(np.float64)).mean(axis=(2, 3), keepdims=True)
        np.testing.assert_allclose(run(program, [], [x])[0], exact, rtol=1e-6)
        np.testing.assert_allclose(stock("GlobalAveragePool", [np.exp(x)])[0], exact, rtol=1e-5)
        hold(program, [], [x], kernels)


def test_a_whole_block_of_squeeze_and_excitation(kernels: Path) -> None:
    program = parse(SQUEEZE_AND_EXCITE)
    weights = random_constants(program, np.random.default_rng(2), 0.3)
    for size in SIZES:
        hold(program, weights, [noise(2, 8, *size)], kernels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scale t0 w2 w3", "scale t0 - -", "a factor, a shift or both"),
        ("scale t0 w2 w3", "scale t0 w0 w3", "needed is a value for each channel"),
        ("weight dense f16 8,1,1 at 5", "weight dense f16 8,1,2 at 5", "needed is a value for each channel"),
        ("multiply t1 t4", "multiply t1 t3", "8 and 3 channels do not fit together"),
        ("subtract t7 t5", "subtract t3 t5", "3 and 8 channels do not fit together"),
        ("t0 = load 0", "t0 = loadrows 0", "rows have no plane"),
        ("lth_region 3", "lth_region 2", "lth_region 3"),
    ],
)
def test_what_breaks_a_rule_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse(SQUEEZE_AND_EXCITE.replace(old, new, 1))


def test_planes_that_do_not_fit_are_refused() -> None:
    for op, other in (("multiply", (4, 1)), ("subtract", (1, 1))):
        with pytest.raises(ArtifactError, match=r"t2: the shapes .* do not fit together"):
            run(parse(BINARY.format(op=op, act="act=none")), [], [noise(1, 5, 4, 6), noise(1, 5, *other)])
