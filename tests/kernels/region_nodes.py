"""Nodes for the tests of the kernel library: a program with random arrays, as a file for its host."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse, text
from tests.kernels.node_files import AnyArray, write_file
from tests.kernels.region_models import Array, Constant, arrays_of, random_constants


@dataclass(frozen=True)
class RegionNode:
    """weights: dense, one for each of the program. inputs: its activations."""

    program: Program
    weights: list[Constant]
    inputs: list[Array]

    @property
    def constants(self) -> list[AnyArray]:
        """The arrays that the node reads behind its activations."""
        arrays = arrays_of(self.program, self.weights)
        return [np.ascontiguousarray(arrays[number]) for number in sorted(arrays)]


def region_node(source: str, shapes: Sequence[tuple[int, ...]], seed: int = 0, zeros: float = 0.8) -> RegionNode:
    """Random constants, a share `zeros` of the elements of every weight zero."""
    program = parse(source)
    rng = np.random.default_rng(seed)
    weights = random_constants(program, rng, zeros)
    return RegionNode(program, weights, [rng.standard_normal(shape).astype(np.float32) for shape in shapes])


def write_node(path: Path, node: RegionNode) -> Path:
    """A file for the host; any of its region operators would do."""
    arrays: list[AnyArray] = [*node.inputs, *node.constants]
    return write_file(path, "Region0", len(node.program.outputs), text(node.program), arrays)
