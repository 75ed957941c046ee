"""Model-local functions, written out where they are called: their layers are layers of the model then."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import FunctionProto, ModelProto, NodeProto, inliner

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.model.inlined_size import check_inlined_size
from lth_deploy.compiler.model.traverse import all_nodes, inner_graphs

_NAMED = 4

_Key = tuple[str, str, str]
"""Domain, name and overload."""


def inline_functions(model: ModelProto) -> tuple[ModelProto, list[str]]:
    """The model without functions of other domains than our own, and what was done; the model itself without any.

    A function whose operators mean something else in the model's opset stays a function.

    Raises:
        ArtifactError: see `check_inlined_size`.
    """
    functions = _functions(model)
    called = Counter(_calls(model.graph.node, functions))
    if not called:
        return model, []
    check_inlined_size(model)
    plain = ModelProto()
    plain.CopyFrom(model)
    versions = {entry.domain or "ai.onnx": int(entry.version) for entry in model.opset_import}
    chosen = {key for key, one in _functions(plain).items() if _take_versions(one, versions)}
    done = Counter({key: times for key, times in called.items() if key in chosen})
    if not done:
        return model, []
    inlined = _inlined(plain, chosen)
    names = sorted({key[1] for key in done})
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return inlined, [f"calls of model-local functions were written out: {sum(done.values())} ({listed})"]


def _inlined(model: ModelProto, chosen: set[_Key]) -> ModelProto:
    """The model with the calls of these functions written out; it changes, too."""
    before = [FunctionProto.FromString(one.SerializeToString()) for one in model.functions]
    stay = [one for one in before if one.domain != DOMAIN and _key(one) not in chosen]
    if stay:  # the inliner takes no model with a function of another opset, even where that one is to stay
        taken = [one for one in before if one.domain == DOMAIN or _key(one) in chosen]
        del model.functions[:]
        model.functions.extend(taken)
    inlined = inliner.inline_selected_functions(model, [key[:2] for key in chosen], exclude=False)
    if stay:  # and what they call
        known = {_key(one) for one in inlined.functions}
        inlined.functions.extend(one for one in before if _key(one) not in known)
        domains = {entry.domain for entry in inlined.opset_import}
        inlined.opset_import.extend(entry for entry in model.opset_import if entry.domain not in domains)
    return inlined


def _key(function: FunctionProto) -> _Key:
    return function.domain, function.name, function.overload


def _functions(model: ModelProto) -> dict[_Key, FunctionProto]:
    return {_key(one): one for one in model.functions if one.domain != DOMAIN}


def _calls(nodes: Iterable[NodeProto], functions: Mapping[_Key, FunctionProto]) -> list[_Key]:
    keys = ((node.domain, node.op_type, node.overload) for node in _with_inner(nodes))
    return [key for key in keys if key in functions]


def _with_inner(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for graph in inner_graphs(node):
            yield from all_nodes(graph)


def _take_versions(function: FunctionProto, versions: Mapping[str, int]) -> bool:
    """Let a function import the versions of the model; False where an operator of it means something else there."""
    for entry in function.opset_import:
        domain, wanted = entry.domain or "ai.onnx", entry.version
        version = versions.get(domain, wanted)
        if version != wanted and domain != "ai.onnx":
            return False
        standard = (node for node in _with_inner(function.node) if (node.domain or "ai.onnx") == domain)
        if version != wanted and any(_since(node, wanted) != _since(node, version) for node in standard):
            return False
        entry.version = version
    return True


def _since(node: NodeProto, opset: int) -> int | None:
    try:
        return int(onnx.defs.get_schema(node.op_type, opset, "").since_version)
    except onnx.defs.SchemaError:
        return None
