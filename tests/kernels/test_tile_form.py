"""Which layers are computed by matrix tiles: predictions and the kernel library say the same."""

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from lth_deploy.compiler.planning.tile_form import is_in_tiles, tile_form
from lth_deploy.kernels.program.ops.conv import Conv, QConv
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Quantized, Window
from tests.kernels.dense_programs import layer, window
from tests.kernels.quantized_programs import numbered
from tests.kernels.region_models import Array, Constant, model_of, open_model, random_constants, run_model

from lth_deploy.structures import Block  # isort: skip

SHAPES = [
    (64, 64, window(3, 1)),
    (24, 40, window(3, 2)),
    (256, 96, window(1, 1)),
    (40, 64, Window((2, 3), (3, 1), (1, 0, 0, 2))),
    (64, 32, Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))),
    (8, 1, window(3, 1)),
]
MASKS = [
    *((Block(1, 1), zeros) for zeros in (0.0, 0.95)),
    *((Block(1, 4), zeros) for zeros in (0.7, 0.85, 0.92)),
    (Block(2, 4), 0.9),
    *((Block(16, 4), zeros) for zeros in (0.5, 0.8)),
    *((Block(32, 4), zeros) for zeros in (0.6, 1.0)),
]


def in_bf16(inputs: int, outputs: int, shape: Window) -> Program:
    """A layer of bf16."""
    constants = numbered(("dense", "bf16", (outputs, inputs, *shape.kernel), None))
    return Program(1, constants, (Load(0, inputs), Conv(0, 0, None, shape)), (Output(1),))


def to_pixels(inputs: int, outputs: int, shape: Window) -> Program:
    """A layer of bytes whose float32 results are an output and nothing else."""
    constants = numbered(("dense", "s8", (outputs, inputs, *shape.kernel), None), ("dense", "f32", (outputs,), None))
    steps = (Load(0, inputs), Quantize(0, Quantized(0.02, 120)), QConv(1, 0, 1, None, shape))
    return Program(1, constants, steps, (Output(2),))


PROGRAMS = {"bytes": layer, "bytes to pixels": to_pixels, "bf16": in_bf16}


def masked(weight: Constant, block: Block, zeros: float, rng: np.random.Generator) -> Constant:
    """A weight that keeps blocks at random; blocks at the end may be cut."""
    outputs, inputs, *taps = weight.shape
    kept = rng.random((-(-outputs // block.outputs), -(-inputs // block.inputs), *taps)) >= zeros
    kept = kept.repeat(block.outputs, axis=0).repeat(block.inputs, axis=1)[:outputs, :inputs]
    return np.where(kept, np.where(weight == 0, 1, weight), 0).astype(weight.dtype)


def said(program: Program, constants: list[Constant], x: Array, library: Path, folder: Path) -> tuple[str, int]:
    """What the library says of the first layer, and the bytes of the L2 cache that it assumes."""
    profile = folder / "profile.jsonl"
    profile.unlink(missing_ok=True)
    with mock.patch.dict(os.environ, LTH_PROFILE=str(profile)):
        session = open_model(model_of(program, constants), library)
        run_model(session, [x])
        del session
    line = json.loads(profile.read_text())
    assert len(line["forms"]) == len(program.instructions)
    return next(form for form in line["forms"] if form), int(line["l2"])


@pytest.mark.parametrize("values", PROGRAMS)
@pytest.mark.parametrize("kernels", ["amx_emulated"], indirect=True)
def test_the_form_is_the_one_that_the_library_takes(kernels: Path, values: str, tmp_path: Path) -> None:
    seen = set()
    for number, (inputs, outputs, shape) in enumerate(SHAPES):
        program = PROGRAMS[values](inputs, outputs, shape)
        x = np.zeros((1, inputs, 5, 5), np.float32)
        for block, zeros in MASKS:
            rng = np.random.default_rng(number)
            constants = random_constants(program, rng, 0.0)
            constants[0] = masked(constants[0], block, zeros, rng)
            found, l2 = said(program, constants, x, kernels, tmp_path)
            form = tile_form(
                constants[0], shape, 2 if values == "bf16" else 4, l2, to_pixels=values == "bytes to pixels"
            )
            assert (str(form) if form else None) == (found if is_in_tiles(found) else None), (shape, block, zeros)
            seen.add(found.rpartition(" ")[0] or found)
    assert seen >= {"dense", "gathered", "gathered by 32", "single", "pairs"}
