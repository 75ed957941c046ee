"""Reading regions back: the model in which each, and RoiAlign, is the standard operators of its function body."""

from collections.abc import Iterator, Sequence

from onnx import FunctionProto, ModelProto, NodeProto

from lth_deploy.compiler.artifact.domain import DOMAIN, REGION_NAMES
from lth_deploy.compiler.artifact.roi_align import standard_roi_align
from lth_deploy.compiler.model.traverse import used_names
from lth_deploy.errors import ArtifactError

MAX_BODY_NODES = 100_000
"""Most nodes of one body: a program has at most 4096 instructions."""


def is_region(node: NodeProto) -> bool:
    """Whether a node is one of our regions."""
    return node.domain == DOMAIN and node.op_type in REGION_NAMES


def has_regions(model: ModelProto) -> bool:
    """Whether the main graph holds a region."""
    return any(is_region(node) for node in model.graph.node)


def region_functions(model: ModelProto) -> dict[str, FunctionProto]:
    """The body of every region operator.

    Raises:
        ArtifactError: an operator has two.
    """
    found: dict[str, FunctionProto] = {}
    for function in model.functions:
        if function.domain == DOMAIN and function.name in REGION_NAMES:
            if function.name in found:
                raise ArtifactError(f"the function {function.name} appears twice; export the file again")
            found[function.name] = function
    return found


def expand_regions(model: ModelProto) -> ModelProto:
    """A copy without regions: packed weights in the main graph, each decoded once; the model itself without any.

    Raises:
        ArtifactError: a region has no body, or one that does not fit its node.
    """
    model = standard_roi_align(model)
    if not has_regions(model):
        return model
    functions = region_functions(model)
    plain = ModelProto()
    plain.CopyFrom(model)
    names = used_names(model)
    nodes: list[NodeProto] = []
    decoded: dict[bytes, str] = {_decoder_key(node): node.output[0] for node in _decoders(model.graph.node)}
    for node in model.graph.node:
        if is_region(node):
            nodes.extend(_inlined(node, functions.get(node.op_type), names, decoded))
        else:
            nodes.append(node)
    kept = [function for function in plain.functions if function.name not in functions or function.domain != DOMAIN]
    del plain.graph.node[:]
    # Weights that several regions decode stand before all of them.
    plain.graph.node.extend(sorted(nodes, key=lambda node: not _is_decoder(node)))
    copies = [FunctionProto.FromString(function.SerializeToString()) for function in kept]
    del plain.functions[:]
    plain.functions.extend(copies)
    return plain


def _inlined(
    node: NodeProto, function: FunctionProto | None, names: set[str], decoded: dict[bytes, str]
) -> Iterator[NodeProto]:
    if function is None:
        raise ArtifactError(f"region '{node.name}' needs the function {node.op_type}, which is absent")
    if len(function.input) != len(node.input) or len(function.output) != len(node.output):
        raise ArtifactError(f"region '{node.name}' does not have the inputs and outputs of its function")
    if len(function.node) > MAX_BODY_NODES:
        raise ArtifactError(f"the function {function.name} has {len(function.node)} nodes, at most {MAX_BODY_NODES}")
    actual = dict(zip(function.input, node.input, strict=True))
    actual.update(zip(function.output, node.output, strict=True))
    for inner in function.node:
        copy = NodeProto()
        copy.CopyFrom(inner)
        copy.input[:] = [actual.get(name, name) if name else "" for name in inner.input]
        if _is_decoder(copy):
            key = _decoder_key(copy)
            if key in decoded:
                actual[inner.output[0]] = decoded[key]
                continue
            decoded[key] = _fresh(inner.output[0], names, actual)
        copy.output[:] = [_fresh(name, names, actual) for name in inner.output]
        yield copy


def _fresh(name: str, names: set[str], actual: dict[str, str]) -> str:
    """The name in the main graph of what a body makes; its own where that is free."""
    if name and name not in actual:
        free = name
        while free in names:
            free += "_"
        names.add(free)
        actual[name] = free
    return actual.get(name, "")


def _is_decoder(node: NodeProto) -> bool:
    if len(node.output) != 1:
        return False
    return node.domain == DOMAIN or (node.op_type == "Cast" and node.name.startswith("widen:"))


def _decoders(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    return (node for node in nodes if _is_decoder(node) and not is_region(node))


def _decoder_key(node: NodeProto) -> bytes:
    """The node without its names: two that agree make the same weight."""
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("name")
    bare.ClearField("output")
    return bytes(bare.SerializeToString(deterministic=True))
