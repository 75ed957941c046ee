"""The rules of a region node; see export/REGION.md."""

from collections.abc import Callable, Mapping

from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.domain import DOMAIN, REGION_NAMES, coding_of, operator_of, position_input
from lth_deploy.compiler.artifact.inline_regions import is_region, region_functions
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.regions.codegen.fallback_function import PROGRAM
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS
from lth_deploy.kernels.program.check_constants import check_constants
from lth_deploy.kernels.program.limits import MAX_TEXT
from lth_deploy.kernels.program.program import Program
from lth_deploy.kernels.program.text import parse
from lth_deploy.kernels.program.weights import ONNX_TYPES, Weight


def check_regions(model: ModelProto) -> None:
    """Hold every region of a model to the rules; its weights are decoded once.

    Raises:
        ArtifactError: the region and the rule that it breaks.
    """
    functions = region_functions(model)
    for function in functions.values():
        _check_body(function)
    overridable = {value.name for value in model.graph.input}
    constants = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name not in overridable}
    seen: set[str] = set()
    for node in model.graph.node:
        if not is_region(node):
            continue
        if node.op_type in seen:
            raise ArtifactError(f"two nodes have the operator {node.op_type}; each region has its own")
        seen.add(node.op_type)
        try:
            _check_node(node, functions.get(node.op_type), constants)
        except ArtifactError as error:
            raise ArtifactError(f"{node.op_type}: {error}") from error
    unused = functions.keys() - seen
    if unused:
        raise ArtifactError(f"the functions {sorted(unused)} belong to no node")


def program_of(node: NodeProto) -> Program:
    """The program of a region node.

    Raises:
        ArtifactError: it has other attributes, or the text breaks a rule.
    """
    programs = [a for a in node.attribute if a.name == PROGRAM and a.type == AttributeProto.STRING]
    if len(node.attribute) != 1 or len(programs) != 1 or programs[0].ref_attr_name:
        raise ArtifactError(f"it needs exactly the attribute '{PROGRAM}', a text")
    data = programs[0].s
    if len(data) > MAX_TEXT or not data.isascii():
        raise ArtifactError(f"its program has {len(data)} bytes, or is not ASCII; at most {MAX_TEXT} are allowed")
    return parse(data.decode("ascii"), len(node.input))


def region_weights(model: ModelProto, node: NodeProto, program: Program) -> Callable[[int], Array]:
    """What decodes the constants of a region by their number in its program; the region is known to keep the rules."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return lambda number: _decoded(program.weights[number], node, constants)


def _decoded(weight: Weight, node: NodeProto, constants: Mapping[str, TensorProto]) -> Array:
    values = array_of(constants[node.input[weight.values]])
    if weight.positions is None:
        return values
    arrays = {position_input(_coding(weight)): array_of(constants[node.input[weight.positions]])}
    return FORMATS.get(_coding(weight)).decode({**arrays, "values": values}, weight.dims)


def _coding(weight: Weight) -> str:
    """The name in FORMATS of how a weight is stored."""
    return weight.coding if weight.block is None else f"{weight.coding}:{weight.block[0]}x{weight.block[1]}"


def _check_node(node: NodeProto, function: FunctionProto | None, constants: Mapping[str, TensorProto]) -> None:
    program = program_of(node)
    if function is None:
        raise ArtifactError("its function is absent")
    if len(function.input) != len(node.input) or not len(function.output) == len(node.output) == len(program.outputs):
        raise ArtifactError("inputs and outputs of node, function and program differ in number")
    names = [*node.input, *node.output]
    if not all(names) or len(set(names)) != len(names):
        raise ArtifactError("an input or output is left out, or there twice")
    for number, weight in enumerate(program.weights):
        try:
            _checked_weight(weight, node, function, constants)
        except ArtifactError as error:
            raise ArtifactError(f"w{number}: {error}") from error
    check_constants(program, lambda number: _checked_weight(program.weights[number], node, function, constants))


def _checked_weight(
    weight: Weight, node: NodeProto, function: FunctionProto, constants: Mapping[str, TensorProto]
) -> Array:
    places = [place for place in (weight.positions, weight.values) if place is not None]
    missing = [node.input[place] for place in places if node.input[place] not in constants]
    if missing:
        raise ArtifactError(f"'{missing[0]}' is no constant of the file")
    values = constants[node.input[weight.values]]
    if values.data_type != ONNX_TYPES[weight.value_type]:
        raise ArtifactError(f"'{values.name}' is not {weight.value_type}, as the program says")
    if weight.positions is None:
        if tuple(values.dims) != weight.dims:
            raise ArtifactError(f"'{values.name}' has the shape {list(values.dims)}, declared are {list(weight.dims)}")
        return array_of(values)
    decoded = _decoded(weight, node, constants)
    formal = [function.input[place] for place in places]
    operator = operator_of(_coding(weight), weight.value_type == "s8")
    shape = next((a.ints for n in _unpacking(function, operator, formal) for a in n.attribute), None)
    if shape is None or tuple(shape) != weight.dims:
        raise ArtifactError("the function does not decode it as the program does")
    return decoded


def _unpacking(function: FunctionProto, operator: str, formal: list[str]) -> list[NodeProto]:
    return [n for n in function.node if n.op_type == operator and list(n.input) == formal]


def _check_body(function: FunctionProto) -> None:
    """Standard operators without inner graphs, and the decoding of packed weights."""
    if list(function.attribute) != [PROGRAM] or function.attribute_proto:
        raise ArtifactError(f"function {function.name} needs exactly the attribute '{PROGRAM}'")
    for node in function.node:
        ours = node.domain == DOMAIN and node.op_type not in REGION_NAMES and coding_of(node.op_type) is not None
        if not ours and node.domain not in STANDARD_DOMAINS:
            raise ArtifactError(f"function {function.name} calls {node.domain}.{node.op_type}: not standard")
        for attribute in node.attribute:
            if attribute.ref_attr_name or attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                raise ArtifactError(f"function {function.name}: '{attribute.name}' is a graph or a reference")
