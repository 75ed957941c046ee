"""What the kernel library computes by itself: models that show what reaches a region, and models of a single one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.domain import DOMAIN, ROI_ALIGN
from lth_deploy.compiler.artifact.inline_regions import is_region, region_functions
from lth_deploy.compiler.artifact.roi_align import is_roi_align
from lth_deploy.compiler.model.traverse import used_names
from lth_deploy.kernels.program.ops.load import AnyLoad
from lth_deploy.kernels.program.program import Program


@dataclass(frozen=True)
class ExtractedRegion:
    """A region, or a RoiAlign, as a model of its own.

    inputs, outputs: the names that they have in the whole model. types: of the elements of inputs that are not float32.
    program: None of a RoiAlign.
    """

    name: str
    model: ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    program: Program | None
    types: Mapping[str, int] = field(default_factory=dict)


def extract_regions(model: ModelProto) -> list[ExtractedRegion]:
    """Every region and RoiAlign of a checked model, in graph order.

    Raises:
        ArtifactError: a region breaks the rules.
    """
    regions = [_extracted(model, node) for node in model.graph.node if is_region(node)]
    pooled = [node for node in model.graph.node if is_roi_align(node)]
    return regions + [_alone_roi_align(model, node, f"{ROI_ALIGN}{number}") for number, node in enumerate(pooled)]


def with_outputs(model: ModelProto, names: Sequence[str], types: Mapping[str, int] | None = None) -> ModelProto:
    """A copy that returns the tensors `names` of the main graph, and nothing else.

    types: of the elements of those that are not float32. A tensor that is an input or constant of the graph cannot be
    returned by itself, so it passes through a node.
    """
    shown = ModelProto()
    shown.CopyFrom(model)
    made = {name for node in shown.graph.node for name in node.output}
    taken = used_names(shown)
    del shown.graph.output[:]
    for name in names:
        element = (types or {}).get(name, TensorProto.FLOAT)
        if name not in made:
            returned = f"{name}.shown"
            while returned in taken:
                returned += "_"
            shown.graph.node.append(helper.make_node("Identity", [name], [returned]))
            name = returned
        shown.graph.output.append(helper.make_tensor_value_info(name, element, None))
    return shown


def _extracted(model: ModelProto, node: NodeProto) -> ExtractedRegion:
    program = program_of(node)
    loads = {step.source: step for step in program.instructions if isinstance(step, AnyLoad)}
    inputs = tuple(node.input[: program.inputs])
    arrays = set(node.input[program.inputs :])

    def value(number: int) -> list[str | int]:
        load, free = loads[number], [f"n{number}", f"h{number}", f"w{number}"]
        dims: list[str | int] = [*free[: load.rank - 1]]
        dims.insert(2 if load.rank == 3 else 1, load.channels)
        return dims

    graph = helper.make_graph(
        [node],
        node.op_type,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value(i)) for i, name in enumerate(inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output],
        [tensor for tensor in model.graph.initializer if tensor.name in arrays],
    )
    others = [f for f in model.functions if f.domain == DOMAIN and f.name not in region_functions(model)]
    functions = [region_functions(model)[node.op_type], *others]
    extracted = helper.make_model(
        graph, opset_imports=model.opset_import, functions=functions, ir_version=model.ir_version
    )
    return ExtractedRegion(node.op_type, extracted, inputs, tuple(node.output), program)


def _alone_roi_align(model: ModelProto, node: NodeProto, name: str) -> ExtractedRegion:
    kinds = ((TensorProto.FLOAT, 4), (TensorProto.FLOAT, 2), (TensorProto.INT64, 1))
    graph = helper.make_graph(
        [node],
        name,
        [
            helper.make_tensor_value_info(one, element, [None] * rank)
            for one, (element, rank) in zip(node.input, kinds, strict=True)
        ],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
    )
    functions = [one for one in model.functions if one.domain == DOMAIN and one.name == ROI_ALIGN]
    extracted = helper.make_model(
        graph, opset_imports=model.opset_import, functions=functions, ir_version=model.ir_version
    )
    types = {node.input[2]: TensorProto.INT64}
    return ExtractedRegion(name, extracted, tuple(node.input), tuple(node.output), None, types)
