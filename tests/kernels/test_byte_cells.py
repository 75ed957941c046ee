"""Quantized tensors of any numbers of channels are joined and cut: bytes are copied, on every instruction set."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.concat import QConcat
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.ops.slice import QSlice
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.text import parse, text
from lth_deploy.kernels.program.values import Quantized
from tests.kernels.drawn_inputs import SLOW_MACHINE
from tests.kernels.host_nodes import CELLS
from tests.kernels.region_models import model_of, open_model, run_model


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Channels of a tensor, and pieces of it."""
    channels = draw(st.integers(1, 21))
    starts = [draw(st.integers(0, channels - 1)) for _ in range(draw(st.integers(2, 5)))]
    return channels, [(start, draw(st.integers(start + 1, channels))) for start in starts]


@SLOW_MACHINE
@given(cut=cuts(), rows=st.booleans(), seed=st.integers(0, 99))
def test_pieces_of_a_tensor_are_joined(
    cut: tuple[int, list[tuple[int, int]]], rows: bool, seed: int, instruction_sets: dict[str, Path]
) -> None:
    channels, pieces = cut
    steps: list[Instruction] = [Load(0, channels, rows), Quantize(0, Quantized(1.0, 0))]
    steps += [QSlice(1, start, stop) for start, stop in pieces]
    steps += [QConcat(tuple(range(2, len(steps)))), Dequantize(len(steps))]
    program = Program(1, (), tuple(steps), (Output(len(steps) - 1, rows),))
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), channels) if rows else (2, channels, *rng.integers(1, 20, 2))
    x = rng.integers(0, 256, shape).astype(np.float32)
    for name, library in instruction_sets.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LTH_ISA", name.split()[0])
            (found,) = run_model(open_model(model_of(program, []), library), [x])
        assert np.array_equal(found, np.concatenate([x[:, start:stop] for start, stop in pieces], 1)), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lth_region 3", "lth_region 2", "write it as 'lth_region 3'"),
        ("qconcat t3 t4 t3", "concat t3 t4 t3", "line 8.*qconcat takes any"),
        ("qslice t1 from=3", "slice t1 from=3", "line 5.*qslice begins anywhere"),
        ("qslice t1 from=3", "qslice t0 from=3", "line 5.*takes quantized tensors"),
        ("from=3 to=10", "from=3 to=12", "line 5.*channels 0 to 10"),
        ("qconcat t6 t5", "qconcat t6", "line 10.*two tensors"),
        ("qconcat t6 t5", "qconcat t6 t1", "line 10.*one scale"),
    ],
)
def test_a_rule_that_is_broken_is_named(old: str, new: str, message: str) -> None:
    assert text(parse(CELLS)) == CELLS
    with pytest.raises(ArtifactError, match=message):
        parse(CELLS.replace(old, new))
