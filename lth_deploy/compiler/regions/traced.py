"""The function body of a region once more as a program, operator by operator: what every tensor of its program is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.regions.alone import LoneRegion
from lth_deploy.compiler.regions.build import classified
from lth_deploy.compiler.regions.expand import expand_regions
from lth_deploy.compiler.regions.known import Shapes
from lth_deploy.compiler.regions.qdq import DEQUANTIZE, LOWEST
from lth_deploy.compiler.regions.translate import Translation, planes_of, translate
from lth_deploy.compiler.regions.units import Unit
from lth_deploy.compiler.walk import used_names
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import Array
from lth_deploy.kernels.instructions import Program
from lth_deploy.kernels.program_writer import lines_of

_LAYERS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class Traced:
    """A region's function as standard operators, and as two programs.

    model: the operators. fused: the program that the compiler makes of them. apart: one instruction for each operator
    between its conversions, so that every rounding of the function is one of it. weights, apart_weights: decoded, in
    the order of each.
    """

    model: ModelProto
    fused: Translation
    apart: Translation
    weights: tuple[Array, ...]
    apart_weights: tuple[Array, ...]


def trace(region: LoneRegion, shapes: Mapping[str, Sequence[int]]) -> Traced:
    """Translate the function of a region again. shapes: of its activations, as they are in one run.

    Raises:
        ArtifactError: the function has something that no region is made of.
    """
    flat = expand_regions(_sized(region.model, shapes))
    model, stored, known, units, reasons = classified(flat)
    units = _needed(units, region.outputs, known)
    missing = set(region.outputs) - {name for unit in units for name in unit.outputs}
    if missing:
        why = next(iter(reasons.values()), "an operator has no instruction")
        raise ArtifactError(f"its function does not make '{min(missing)}' of what a region computes: {why}")
    fused, apart = (translate(units, region.outputs, known, stored, fuse=fuse) for fuse in (True, False))
    weights, apart_weights = (tuple(stored[name].weights() for name in one.weights) for one in (fused, apart))
    return Traced(model, fused, apart, weights, apart_weights)


def difference(region: LoneRegion, traced: Traced) -> str | None:
    """In words the first line in which a program is not what its function translates to; None where there is none.

    Of tensors with one plane any may give a resize its size.
    """
    assert region.program is not None
    arrays = tuple(region.model.graph.node[0].input[region.program.inputs :])
    if arrays != traced.fused.arrays:
        return "the arrays of the node are not in the order of its function"
    mine, its = (_lines(program) for program in (region.program, traced.fused.program))
    for number in range(max(len(mine), len(its))):
        found, wanted = (lines[number] if number < len(lines) else "nothing" for lines in (mine, its))
        if found != wanted:
            return f"line {number + 1} of its program is '{found:.200}', its function says '{wanted:.200}'"
    return None


def in_floats(model: ModelProto, *, every: bool) -> ModelProto:
    """A copy that a stock runtime computes as it is written: a layer of float weights, or `every` one, in floats.

    It would quantise float weights between bytes, asked or not, and its int8 kernels may saturate on old processors.
    """
    apart = ModelProto()
    apart.CopyFrom(model)
    taken = used_names(apart)
    lowest = "lowest"
    while lowest in taken:
        lowest += "_"
    apart.graph.initializer.append(numpy_helper.from_array(np.array(LOWEST, np.float32), lowest))
    of_bytes = {node.output[0] for node in model.graph.node if node.op_type == DEQUANTIZE}
    nodes: list[NodeProto] = []
    for node in apart.graph.node:
        copy = NodeProto.FromString(node.SerializeToString())
        nodes.append(copy)
        if node.op_type in _LAYERS and (every or node.input[1] not in of_bytes):
            inner = f"{node.output[0]}.sum"
            while inner in taken:
                inner += "_"
            copy.output[0] = inner
            nodes.append(helper.make_node("Max", [inner, lowest], [node.output[0]]))
    del apart.graph.node[:]
    apart.graph.node.extend(nodes)
    return apart


def _lines(program: Program) -> list[str]:
    return [" ".join(word for word in line.split(" ") if not word.startswith("like=")) for line in lines_of(program)]


def _sized(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> ModelProto:
    sized = ModelProto()
    sized.CopyFrom(model)
    values = [helper.make_tensor_value_info(one.name, TensorProto.FLOAT, shapes[one.name]) for one in model.graph.input]
    del sized.graph.input[:]
    sized.graph.input.extend(values)
    return sized


def _needed(units: Sequence[Unit], outputs: Sequence[str], shapes: Shapes) -> list[Unit]:
    """Units that the outputs follow from, those that give a resize its plane included."""
    needed, kept = set(outputs), list[Unit]()
    while True:
        kept = [unit for unit in units if needed & set(unit.outputs)]
        more = {name for unit in kept for name in unit.inputs} | set(planes_of(kept, outputs, shapes).values())
        if more <= needed:
            return kept
        needed |= more
