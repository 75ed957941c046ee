"""Results that take the place of what they were made of are right, and the bits of those that do not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from held import hold
from region_models import model_of, open_model, random_constants, run_model

from lth_deploy.kernels.instructions import Dequantize, Instruction, Output, Program
from lth_deploy.kernels.program import parse

ONE = "kernel=1,1 stride=1,1 pads=0,0,0,0 dilation=1,1 groups=1"
THREE = "kernel=3,3 stride=1,1 pads=1,1,1,1 dilation=1,1 groups=1"
HEAD = f"""\
lth_region 1
inputs 1
weight dense f32 12,8,1,1 at 1
weight dense f32 12,12,3,3 at 2
weight dense f32 12,12,1,1 at 3
t0 = load 0 channels=8
t1 = conv t0 w0 - {ONE} act=relu
t2 = conv t1 w1 - {THREE} act=relu
"""
BYTES = f"""\
lth_region 1
inputs 1
weight bitmask:1x4 s8 12,8,1,1 at 1,2
weight dense s8 12,12,3,3 at 3
weight bitmask:2x4 s8 12,12,1,1 at 4,5
weight dense f32 12 at 6
t0 = load 0 channels=8
t1 = quantize t0 out=u8:0.0171:128
t2 = qconv t1 w0 w3 - {ONE} act=relu out=u8:0.02:0
t3 = qconv t2 w1 w3 - {THREE} act=relu out=u8:0.03:7
"""
FLOATS = {
    "one after the other": f"""\
t3 = conv t2 w2 - {ONE} add=t1 act=relu
t4 = conv t3 w1 - {THREE} act=silu
t5 = conv t4 w2 - {ONE} add=t3 act=hardswish
t6 = conv t5 w2 - {ONE} act=none
output t6
""",
    "read again": f"""\
t3 = conv t2 w2 - {ONE} add=t1 act=relu
t4 = conv t3 w2 - {ONE} add=t1 act=none
output t4
""",
    "returned": f"""\
t3 = conv t2 w2 - {ONE} add=t1 act=relu
output t1
output t3
""",
    "also what the windows read": f"""\
t3 = conv t2 w1 - {THREE} add=t2 act=relu
t4 = conv t3 w2 - {ONE} add=t3 act=none
t5 = conv t1 w2 - {ONE} add=t4 act=none
output t5
""",
    "read by windows through a slice": f"""\
t3 = slice t2 from=0 to=12
t4 = conv t3 w1 - {THREE} add=t2 act=relu
t5 = conv t1 w2 - {ONE} add=t4 act=none
output t5
""",
    "in front of a concatenation": f"""\
t3 = conv t2 w2 - {ONE} add=t1 act=relu
t4 = conv t3 w1 - {THREE} act=relu
t5 = concat t3 t4
output t5
""",
    "a part of a concatenation": f"""\
t3 = concat t1 t2
t4 = conv t2 w2 - {ONE} add=t1 act=relu
t5 = slice t3 from=12 to=24
t6 = conv t4 w2 - {ONE} add=t5 act=relu
t7 = concat t6 t4
output t7
""",
    "sums of whole tensors": f"""\
t3 = add t1 t2 act=relu
t4 = act t3 act=silu
t5 = add t4 t4 act=none
t6 = conv t5 w2 - {ONE} act=none
t7 = add t6 t5 act=leaky:0.1
output t7
""",
}
QUANTISED = {
    "one after the other, in bytes": f"""\
t4 = qconv t3 w2 w3 - {ONE} add=t2 act=relu out=u8:0.05:9
t5 = qconv t4 w1 w3 - {THREE} add=t4 act=relu out=u8:0.06:0
t6 = qconv t5 w1 w3 - {THREE} act=silu out=u8:0.06:3
t7 = qconv t6 w2 w3 - {ONE} add=t5 act=clip:-1:4 out=u8:0.07:8
t8 = dequantize t7
output t8
""",
    "sums of whole tensors, in bytes": f"""\
t4 = qadd t3 t2 act=none out=u8:0.05:9
t5 = requantize t4 act=leaky:0.1 out=u8:0.04:30
t6 = qconv t5 w2 w3 - {ONE} act=none out=u8:0.05:9
t7 = qadd t6 t5 act=none out=u8:0.05:9
t8 = dequantize t7
output t8
""",
}
PROGRAMS = {name: HEAD + body for name, body in FLOATS.items()} | {
    name: BYTES + body for name, body in QUANTISED.items()
}


def _all_kept(program: Program) -> Program:
    """The same, but every tensor is returned, so that nothing may take its place."""
    returned = {output.tensor for output in program.outputs}
    others = [number for number in range(1, len(program.instructions)) if number not in returned]
    steps: list[Instruction] = list(program.instructions)
    kept = list(program.outputs)
    quantised = any(isinstance(step, Dequantize) for step in steps)
    for number in others:
        if quantised:
            steps.append(Dequantize(number))
        kept.append(Output(len(steps) - 1 if quantised else number))
    return dataclasses.replace(program, instructions=tuple(steps), outputs=tuple(kept))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_residual_may_make_room_for_the_sum(name: str, threads: int, kernels: Path) -> None:
    program = parse(PROGRAMS[name])
    rng = np.random.default_rng(0)
    weights = random_constants(program, rng, 0.5)
    picture = [rng.standard_normal((2, 8, 53, 38)).astype(np.float32)]
    found = run_model(open_model(model_of(program, weights), kernels, threads), picture)
    expected = run_model(open_model(model_of(_all_kept(program), weights), kernels), picture)
    hold(program, weights, picture, kernels)
    for one, other in zip(found, expected[: len(found)], strict=True):
        assert one.std() > 0
        np.testing.assert_array_equal(one, other)
