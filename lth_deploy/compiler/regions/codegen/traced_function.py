"""The function body of a region once more as a program, operator by operator: what every tensor of its program is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.extract_region import ExtractedRegion
from lth_deploy.compiler.artifact.inline_regions import expand_regions
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import used_names
from lth_deploy.compiler.regions.analysis.tensor_info import TensorInfo
from lth_deploy.compiler.regions.classify import classified
from lth_deploy.compiler.regions.codegen.program_builder import Translation, planes_of, translate
from lth_deploy.compiler.regions.match.qdq import LOWEST
from lth_deploy.compiler.regions.match.region_op import DEQUANTIZE_LINEAR, RegionOp
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels.program.fields import InputRole, Role, TensorRole
from lth_deploy.kernels.program.format import lines_of
from lth_deploy.kernels.program.instruction import Instruction
from lth_deploy.kernels.program.ops.resize import Resize, Upsample
from lth_deploy.kernels.program.program import Program


@dataclass(frozen=True)
class Traced:
    """A region's function as standard operators, and as two programs.

    model: the operators. fused: the program that the compiler makes of them. unfused: one instruction for each operator
    between its conversions, so that every rounding of the function is one of it. stored: every weight, decoded, by the
    name of the array that holds its values; names: that of each weight.
    """

    model: ModelProto
    fused: Translation
    unfused: Translation
    stored: Mapping[str, Array]
    names: Mapping[str, str]

    def weights(self, program: Program, inputs: Sequence[str]) -> list[tuple[str, Array]]:
        """Name and values of each weight of a program, whose node has these inputs."""
        arrays = [inputs[weight.values] for weight in program.weights]
        return [(self.names[array], self.stored[array]) for array in arrays]


def trace(region: ExtractedRegion, shapes: Mapping[str, Sequence[int]]) -> Traced:
    """Translate the function of a region again. shapes: of its activations, as they are in one run.

    Raises:
        ArtifactError: the function has something that no region is made of.
    """
    flat = expand_regions(_sized(region.model, shapes))
    found = classified(flat)
    stored, info = found.stored, found.info
    ops = _needed(found.ops, region.outputs, info)
    missing = set(region.outputs) - {name for op in ops for name in op.outputs}
    if missing:
        why = next(iter(found.reasons.values()), "an operator has no instruction")
        raise ArtifactError(f"its function does not make '{min(missing)}' of what a region computes: {why}")
    fused, unfused = (translate(ops, region.outputs, info, stored, fuse=fuse) for fuse in (True, False))
    names = {stored[name].tensors["values"].name: name for name in fused.weights}
    return Traced(found.model, fused, unfused, {array: stored[name].weights() for array, name in names.items()}, names)


def difference(region: ExtractedRegion, traced: Traced) -> str | None:
    """In words the first tensor of a program that its function does not make; None where there is none.

    Tensors are compared by what they are made of, whatever the order of instructions, and whichever of the tensors with
    one plane gives a resize its size.
    """
    program, node = region.program, region.model.graph.node[0]
    assert program is not None
    table: dict[object, int] = {}
    translated = traced.fused.program
    of_function = _keys(translated, [*traced.fused.activations, *traced.fused.arrays], table)
    of_program = _keys(program, list(node.input), table)
    lines = lines_of(program)[2 + len(program.weights) :]
    for number, key in enumerate(of_program):
        if key not in of_function:
            return f"its program has '{lines[number]:.200}', which its function does not make"
    wanted = [(of_function[output.tensor], output.rows) for output in translated.outputs]
    for number, output in enumerate(program.outputs):
        if (of_program[output.tensor], output.rows) != wanted[number]:
            return f"its program returns t{output.tensor} as '{region.outputs[number]}', its function another tensor"
    return None


def _keys(program: Program, inputs: Sequence[str], table: dict[object, int]) -> list[int]:
    """For each tensor a number that stands for all that it is made of. inputs: names of the node's, arrays included."""
    keys: list[int] = []

    def constant(number: int) -> object:
        weight = program.weights[number]
        positions = None if weight.positions is None else inputs[weight.positions]
        return replace(weight, positions=None, values=0), positions, inputs[weight.values]

    def content(role: Role, value: Any) -> object:
        if isinstance(role, TensorRole) and role.plane_only:
            return None
        if isinstance(role, InputRole):
            return inputs[value]
        named = tuple(keys[number] for number in role.tensors(value))
        named_constants = tuple(constant(number) for number in role.constants(value))
        return named or named_constants or value

    for instruction in program.instructions:
        step = _any_size(instruction)
        contents = tuple(content(role, value) for role, value in step.values())
        keys.append(table.setdefault((type(step).__name__, contents), len(table)))
    return keys


def _any_size(step: Instruction) -> Instruction:
    """Of a known size the function makes a resize like another tensor, of an open one a factor."""
    return Resize(step.x, step.x, step.linear) if isinstance(step, Upsample) else step


def in_floats(model: ModelProto, *, every: bool) -> ModelProto:
    """A copy that a stock runtime computes as it is written: a layer of float weights, or `every` one, in floats.

    It would quantize float weights between bytes, asked or not, and its int8 kernels may saturate on old processors.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    taken = used_names(changed)
    lowest = "lowest"
    while lowest in taken:
        lowest += "_"
    changed.graph.initializer.append(numpy_helper.from_array(np.array(LOWEST, np.float32), lowest))
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == DEQUANTIZE_LINEAR}
    nodes: list[NodeProto] = []
    for node in changed.graph.node:
        copy = NodeProto.FromString(node.SerializeToString())
        nodes.append(copy)
        if traits_of(node.op_type).bias_input is not None and (every or node.input[1] not in dequantized):
            inner = f"{node.output[0]}.sum"
            while inner in taken:
                inner += "_"
            copy.output[0] = inner
            nodes.append(helper.make_node("Max", [inner, lowest], [node.output[0]]))
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _sized(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> ModelProto:
    sized = ModelProto()
    sized.CopyFrom(model)
    values = [
        helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shapes[value.name]) for value in model.graph.input
    ]
    del sized.graph.input[:]
    sized.graph.input.extend(values)
    return sized


def _needed(ops: Sequence[RegionOp], outputs: Sequence[str], info: TensorInfo) -> list[RegionOp]:
    """Units that the outputs follow from, those that give a resize its plane included."""
    needed, kept = set(outputs), list[RegionOp]()
    while True:
        kept = [op for op in ops if needed & set(op.outputs)]
        more = {name for op in kept for name in op.inputs} | set(planes_of(kept, outputs, info).values())
        if more <= needed:
            return kept
        needed |= more
