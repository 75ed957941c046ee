"""What tests of regions between quantized tensors ask of their programs."""

from collections import Counter

from onnx import ModelProto

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.kernels.program.ops.activate import Activate
from lth_deploy.kernels.program.ops.quantize import Dequantize
from lth_deploy.kernels.program.program import Program
from tests.compiler.regions.quantized_graphs import QuantizedGraph

PICTURE = {"x": [1, 16, 8, 12]}


def only_program(built: ModelProto) -> Program:
    (node,) = (node for node in built.graph.node if node.op_type.startswith("Region"))
    return program_of(node)


def steps_of(program: Program) -> Counter[str]:
    return Counter(type(step).__name__ for step in program.instructions)


def assert_on_bytes(program: Program) -> None:
    """Between the region's inputs and outputs nothing is a float."""
    returned = {output.tensor for output in program.outputs}
    for number, step in enumerate(program.instructions):
        if isinstance(step, Dequantize):
            assert number in returned
        assert not isinstance(step, Activate)


def head(g: QuantizedGraph, x: str, channels: int) -> str:
    return g.qconv(x, "last", (channels, 8), 1, scale=0.04, zero=90)
