"""Results that take the place of what they were made of are right, and the bits of those that do not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.quantize import Dequantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, random_constants, run_model
from tests.kernels.residual_programs import RESIDUAL_PROGRAMS


def _all_kept(program: Program) -> Program:
    """The same, but every tensor is returned, so that nothing may take its place."""
    returned = {output.tensor for output in program.outputs}
    others = [number for number in range(1, len(program.instructions)) if number not in returned]
    steps: list[Instruction] = list(program.instructions)
    kept = list(program.outputs)
    quantized = any(isinstance(step, Dequantize) for step in steps)
    for number in others:
        if quantized:
            steps.append(Dequantize(number))
        kept.append(Output(len(steps) - 1 if quantized else number))
    return dataclasses.replace(program, instructions=tuple(steps), outputs=tuple(kept))


@pytest.mark.parametrize("name", RESIDUAL_PROGRAMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_residual_may_make_room_for_the_sum(name: str, threads: int, kernels: Path) -> None:
    program = parse(RESIDUAL_PROGRAMS[name])
    rng = np.random.default_rng(0)
    weights = random_constants(program, rng, 0.5)
    picture = [rng.standard_normal((2, 8, 53, 38)).astype(np.float32)]
    found = run_model(open_model(model_of(program, weights), kernels, threads), picture)
    expected = run_model(open_model(model_of(_all_kept(program), weights), kernels), picture)
    hold(program, weights, picture, kernels)
    for one, other in zip(found, expected[: len(found)], strict=True):
        assert one.std() > 0
        np.testing.assert_array_equal(one, other)
