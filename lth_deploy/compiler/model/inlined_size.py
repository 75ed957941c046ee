"""The size of a model after its model-local functions are inlined, computed without inlining them.

Functions that call each other twice on every level double at each: a file of 3 kB can stand for 2^40 nodes. Everything
that inlines (this package, ONNX Runtime at session creation, shape inference) must only see models that passed here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from onnx import FunctionProto, ModelProto, NodeProto

from lth_deploy.compiler.model.save import MAX_FILE_BYTES
from lth_deploy.compiler.model.traverse import MAX_DEPTH
from lth_deploy.errors import ArtifactError

MAX_NODES = 1_000_000
"""Most nodes of a model, bodies of If and Loop and calls of functions included."""

MAX_CALL_DEPTH = 64
"""Most functions that call one another in a row."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class InlinedSize:
    """What a body becomes when every call in it is replaced by the function that it calls.

    nodes: their number, graphs inside attributes included. bytes: their serialized size, about. depth: levels of
    graphs inside attributes. calls: functions that call one another in a row. references: how many attributes take
    their value from each attribute of the function.
    """

    nodes: int
    bytes: int
    depth: int
    calls: int
    references: Counter[str] = field(default_factory=Counter)


def inlined_size(model: ModelProto) -> InlinedSize:
    """The largest size of the main graph and of each function after inlining; nothing is inlined.

    Raises:
        ArtifactError: a function is defined twice or calls itself, or too many call one another in a row.
    """
    functions: dict[Key, FunctionProto] = {}
    for function in model.functions:
        key = _key(function.domain, function.name, function.overload)
        if key in functions:
            raise ArtifactError(f"the function {function.name} appears twice; save the model again")
        functions[key] = function
    counter = _Counter(functions)
    sizes = [counter.size(model.graph.node, ()), *(counter.called(key, ()) for key in functions)]
    return InlinedSize(*(max(getattr(size, name) for size in sizes) for name in ("nodes", "bytes", "depth", "calls")))


def check_inlined_size(model: ModelProto) -> None:
    """Refuse a model that becomes too large when its functions are inlined.

    Raises:
        ArtifactError: too many nodes, bytes or levels after inlining, or see `inlined_size`.
    """
    size = inlined_size(model)
    if size.nodes > MAX_NODES:
        raise ArtifactError(
            f"the model has {_rounded(size.nodes)} nodes when its functions are inlined, at most {MAX_NODES} are "
            "allowed"
        )
    if size.bytes > MAX_FILE_BYTES:
        raise ArtifactError(
            f"the nodes have {_rounded(size.bytes)} bytes when their functions are inlined, at most "
            f"{MAX_FILE_BYTES} are allowed"
        )
    if size.depth > MAX_DEPTH:
        raise ArtifactError(f"graphs are nested deeper than {MAX_DEPTH} levels; simplify the model")


class _Counter:
    """Sizes of functions, each computed once."""

    def __init__(self, functions: dict[Key, FunctionProto]) -> None:
        self._functions = functions
        self._known: dict[Key, InlinedSize] = {}

    def size(self, nodes: Iterable[NodeProto], trail: tuple[Key, ...]) -> InlinedSize:
        count = total = deepest = calls = 0
        references: Counter[str] = Counter()
        for node, depth in _nested(nodes):
            deepest = max(deepest, depth)
            if depth > MAX_DEPTH:
                break
            key = _key(node.domain, node.op_type, node.overload)
            total += node.ByteSize() if depth == 0 else 0
            if key not in self._functions:
                count += 1
                references.update(a.ref_attr_name for a in node.attribute if a.ref_attr_name)
                continue
            body = self.called(key, trail)
            count += body.nodes
            calls = max(calls, body.calls)
            deepest = max(deepest, depth + body.depth)
            total += body.bytes
            for attribute in node.attribute:
                uses = body.references[attribute.name]
                if attribute.ref_attr_name:
                    references[attribute.ref_attr_name] += uses
                else:
                    total += uses * attribute.ByteSize()
        return InlinedSize(count, total, deepest, calls, references)

    def called(self, key: Key, trail: tuple[Key, ...]) -> InlinedSize:
        """The size of one call; trail: the functions that are being counted."""
        if key in trail:
            raise ArtifactError(f"the function {key[1]} calls itself; a function must not be recursive")
        if key not in self._known:
            function = self._functions[key]
            body = self.size(function.node, (*trail, key)) if len(trail) < MAX_CALL_DEPTH else None
            if body is None or body.calls >= MAX_CALL_DEPTH:
                raise ArtifactError(
                    f"more than {MAX_CALL_DEPTH} functions call one another in a row; simplify the model"
                )
            defaults = sum(body.references[one.name] * one.ByteSize() for one in function.attribute_proto)
            self._known[key] = replace(body, bytes=body.bytes + defaults, calls=body.calls + 1)
        return self._known[key]


def _nested(nodes: Iterable[NodeProto]) -> Iterator[tuple[NodeProto, int]]:
    """Every node with the number of graphs around it, down to one level more than is allowed."""
    waiting = [(node, 0) for node in nodes]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        if depth <= MAX_DEPTH:
            for attribute in node.attribute:
                inner = [attribute.g] if attribute.HasField("g") else []
                waiting.extend((one, depth + 1) for graph in (*inner, *attribute.graphs) for one in graph.node)


def _key(domain: str, name: str, overload: str) -> Key:
    return ("" if domain == "ai.onnx" else domain, name, overload)


def _rounded(number: int) -> str:
    """A number that may have more digits than a message should."""
    return str(number) if number < 10**15 else "more than 10^15"
