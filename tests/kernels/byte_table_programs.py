"""Programs that compute functions between quantized tensors twice: by table, and by way of float32."""

from functools import cache

import numpy as np

from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.activate import Activate, Requantize
from lth_deploy.kernels.program.ops.load import Load
from lth_deploy.kernels.program.ops.quantize import Dequantize, Quantize
from lth_deploy.kernels.program.program import Output, Program
from lth_deploy.kernels.program.values import Act, Quantized
from tests.kernels.region_nodes import RegionNode

CASES = 12
"""Grids that each activation is tried with."""

_NUMBERS = {0: (), 1: (0.1,), 2: (-1.5, 3.25)}


@cache
def table_node(kind: str) -> RegionNode:
    """Pairs of outputs that must be equal, one pair for each of some grids; inputs hold all 256 bytes.

    Five channels: the last cell is not full. kind: of the activation.
    """
    rng = np.random.default_rng(sorted(ACTIVATIONS).index(kind))
    act = Act(kind, _NUMBERS[ACTIVATIONS[kind].numbers])
    steps: list[Instruction] = [Load(number, 5) for number in range(CASES)]
    outputs, inputs = list[Output](), []
    for number in range(CASES):
        source, made = _grid(rng), _grid(rng)
        if number == 0:  # fine enough for functions that end at 0 and 1
            source, made = Quantized(0.03125, 128), Quantized(0.00390625, 0)
        elif number % 2:  # neither so coarse that all is one step, nor so fine that all is out of range
            made = Quantized(float(f"{source.scale * rng.uniform(0.3, 3):.9g}"), made.zero)
        x = len(steps)
        steps += [Quantize(number, source), Requantize(x, act, made), Dequantize(x + 1), Dequantize(x)]
        real = x + 3
        if kind != "none":
            steps.append(Activate(real, act))
            real += 1
        steps += [Quantize(real, made), Dequantize(real + 1)]
        outputs += [Output(x + 2), Output(real + 2)]
        stored = np.stack([rng.permutation(256) for _ in range(5)]).reshape(1, 5, 16, 16)
        inputs.append((stored - source.zero).astype(np.float32) * np.float32(source.scale))
    return RegionNode(Program(CASES, (), tuple(steps), tuple(outputs)), [], inputs)


def _grid(rng: np.random.Generator) -> Quantized:
    return Quantized(float(f"{10 ** rng.uniform(-6, 1):.9g}"), int(rng.choice([0, 255, rng.integers(256)])))
