"""Results of the kernels, held to the oracle."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.program import Program
from tests.kernels.region_models import Array, Constant, model_of, open_model, run_model


def hold(program: Program, weights: Sequence[Constant], inputs: Sequence[Array], library: Path) -> None:
    """The kernels' results lie within the bound of the exact ones."""
    found = run_model(open_model(model_of(program, weights), library), inputs)
    for number, (output, exact) in enumerate(zip(found, run_bounded(program, weights, inputs), strict=True)):
        assert output.shape == exact.value.shape
        off = np.abs(output.astype(np.float64) - exact.value)
        over = off > exact.bound + 1e-37
        assert not over.any(), f"output {number}: {off[over].max()} at {np.argwhere(over)[0].tolist()}"


def hold_on_all(
    program: Program, weights: Sequence[Constant], inputs: Sequence[Array], instruction_sets: Mapping[str, Path]
) -> None:
    """`hold` with each instruction set; which one is forced is forgotten afterwards, also after a failure."""
    for name, library in instruction_sets.items():
        with mock.patch.dict(os.environ, LTH_ISA=name.split()[0]):
            hold(program, weights, inputs, library)
