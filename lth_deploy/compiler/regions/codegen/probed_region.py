"""A region that returns what its instructions make, for a look at the kernels at work."""

from collections.abc import Iterator
from dataclasses import replace

from onnx import ModelProto, TensorProto, helper

from lth_deploy.compiler.artifact.extract_region import ExtractedRegion
from lth_deploy.compiler.model.traverse import used_names
from lth_deploy.kernels.program.limits import MAX_INSTRUCTIONS, MAX_OUTPUTS
from lth_deploy.kernels.program.ops.load import AnyLoad
from lth_deploy.kernels.program.ops.quantize import Dequantize
from lth_deploy.kernels.program.program import Output as Returned
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.rules import check
from lth_deploy.kernels.program.text import text

PROBES = MAX_OUTPUTS // 2
"""Tensors that one model returns beside the outputs of its region, at most: all of them are held in memory."""


def inner_tensors(program: Program) -> list[int]:
    """The tensors that instructions make and the region does not return."""
    returned = {output.tensor for output in program.outputs}
    numbers = enumerate(program.instructions)
    return [number for number, step in numbers if not isinstance(step, AnyLoad) and number not in returned]


def probed(region: ExtractedRegion) -> Iterator[tuple[ModelProto, dict[int, str]]]:
    """Models of a region that together return all of its inner tensors; of each the names by tensor, bytes as floats.

    The kernels compute the same instructions in each; its function only fits in number and is never run.
    """
    program = region.program
    assert program is not None
    room = min(PROBES, MAX_OUTPUTS - len(program.outputs), MAX_INSTRUCTIONS - len(program.instructions))
    inner = inner_tensors(program)
    for first in range(0, len(inner) if room > 0 else 0, max(room, 1)):
        yield _returning(region, program, inner[first : first + room])


def _returning(region: ExtractedRegion, program: Program, tensors: list[int]) -> tuple[ModelProto, dict[int, str]]:
    made = check(program)
    steps, outputs = list(program.instructions), list(program.outputs)
    for number in tensors:
        if made[number].quantized is not None:
            steps.append(Dequantize(number))
        source = number if made[number].quantized is None else len(steps) - 1
        outputs.append(Returned(source, made[number].rows))
    model = ModelProto()
    model.CopyFrom(region.model)
    taken, names = used_names(model), dict[int, str]()
    for number in tensors:
        names[number] = f"t{number}"
        while names[number] in taken:
            names[number] += "_"
    node = model.graph.node[0]
    node.attribute[0].s = text(replace(program, instructions=tuple(steps), outputs=tuple(outputs))).encode()
    node.output.extend(names.values())
    function = next(one for one in model.functions if one.name == node.op_type)
    for name in names.values():
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        function.output.append(name)
        function.node.append(helper.make_node("Identity", [function.input[0]], [name]))
    return model, names
