"""Results of the kernels, held to the oracle."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from lth_deploy.kernels.oracle.reference import run_bounded
from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.numerics.bounds import Tensor
from lth_deploy.kernels.program.program import Program
from tests.kernels.region_models import Array, Constant, model_of, open_model, run_model


def of_version(program: str, activation: str) -> str:
    """The text of a program with an activation: of the version of the activation, where that is newer."""
    (own,) = re.findall(r"^lth_region (\d+)", program)
    return program.replace(f"lth_region {own}", f"lth_region {max(int(own), ACTIVATIONS[activation].since)}", 1)


_exact: dict[bytes, list[Tensor]] = {}
_EXACT_CASES = 24


def exact_results(program: Program, weights: Sequence[Constant], inputs: Sequence[Array]) -> list[Tensor]:
    """What the oracle computes. The latest results are kept: all instruction sets are held to the same ones."""
    digest = hashlib.sha256(repr(program).encode())
    for array in (*weights, *inputs):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.digest()
    if key not in _exact:
        while len(_exact) >= _EXACT_CASES:
            del _exact[next(iter(_exact))]
        _exact[key] = run_bounded(program, weights, inputs)
    return _exact[key]


def hold(program: Program, weights: Sequence[Constant], inputs: Sequence[Array], library: Path) -> None:
    """The kernels' results lie within the bound of the exact ones."""
    found = run_model(open_model(model_of(program, weights), library), inputs)
    for number, (output, exact) in enumerate(zip(found, exact_results(program, weights, inputs), strict=True)):
        assert output.shape == exact.value.shape
        equal = output == exact.value  # infinite ones too, which have no difference
        off = np.where(equal, 0.0, np.abs(np.where(equal, 0.0, output) - np.where(equal, 0.0, exact.value)))
        over = ~(equal | (off <= exact.bound + 1e-37))
        assert not over.any(), f"output {number}: {off[over].max()} at {np.argwhere(over)[0].tolist()}"


def hold_on_all(
    program: Program, weights: Sequence[Constant], inputs: Sequence[Array], instruction_sets: Mapping[str, Path]
) -> None:
    """`hold` with each instruction set; which one is forced is forgotten afterwards, also after a failure."""
    for name, library in instruction_sets.items():
        with mock.patch.dict(os.environ, LTH_ISA=name.split()[0]):
            hold(program, weights, inputs, library)
