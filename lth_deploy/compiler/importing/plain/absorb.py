"""Folding batch norms and multiplications, divisions, sums and differences with constants into layers."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.half_floats import WIDE
from lth_deploy.compiler.importing.plain.affine import Affine, affine_of, may_be_affine
from lth_deploy.compiler.importing.plain.folded_layer import FoldedLayer
from lth_deploy.compiler.importing.plain.inferred import Inferred, infer
from lth_deploy.compiler.importing.plain.layer_weights import LayerLayout, layout_of
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes
from lth_deploy.compiler.model.attributes import attribute


@dataclass
class _Use:
    """A layer that may absorb something, with what it absorbed so far."""

    node: NodeProto
    layout: LayerLayout
    weights: Array
    bias: Array | None
    output: str
    before: Affine
    after: Affine
    changed: bool = False

    def as_folded(self) -> FoldedLayer:
        """What was absorbed, under the names that the layer has now."""
        named = self.node.input[2] if self.has_bias else None
        return FoldedLayer(self.node.input[1], self.output, named, self.layout, self.before, self.after)

    @property
    def has_bias(self) -> bool:
        """Whether the layer adds one."""
        return len(self.node.input) > 2 and bool(self.node.input[2])


@dataclass
class Absorbed:
    """layers: what absorbed something. operators: how many were folded, by their name."""

    layers: list[FoldedLayer] = field(default_factory=list)
    operators: Counter[str] = field(default_factory=Counter)


def absorb(
    model: ModelProto, original: Collection[str], *, without: Collection[str] = (), halves: Collection[str] = ()
) -> Absorbed:
    """Fold, in place, per-channel operators into the layers before and behind them.

    A value that more than one node reads, or that the model returns, stays; so does what stands behind layers that
    share a weight, unless all of them are followed by the same scales.

    Args:
        model: a normalized one.
        original: names of the values that nodes of the original make; what a layer made there is found by it.
        without: names of weights that are to stay as they are.
        halves: names of weights that the file has in half precision; they are rounded to it.
    """
    if not any(may_be_affine(node) for node in model.graph.node):
        return Absorbed()
    return _Absorption(model, original, without, halves).run()


class _Absorption:
    def __init__(
        self, model: ModelProto, original: Collection[str], without: Collection[str], halves: Collection[str]
    ) -> None:
        self._model = model
        self._original = original
        self._halves = halves
        self._graph = MainGraph(model)
        self._inferred: Inferred | None = None
        self._gone: set[int] = set()
        self._operators: Counter[str] = Counter()
        self._by_weight: dict[str, list[_Use]] = {}
        for node in self._graph.nodes:
            use = None if len(node.input) < 2 or node.input[1] in without else self._use(node)
            if use is not None:
                self._by_weight.setdefault(node.input[1], []).append(use)

    def run(self) -> Absorbed:
        for weight, uses in self._by_weight.items():
            if self._is_only_weight(weight, uses):
                self._absorb_behind(uses)
        by_input: dict[str, list[_Use]] = {}
        for weight, uses in self._by_weight.items():
            if len(uses) == 1 and self._is_only_weight(weight, uses):
                by_input.setdefault(uses[0].node.input[0], []).append(uses[0])
        for node in reversed(self._graph.nodes):
            if id(node) not in self._gone and may_be_affine(node):
                self._absorb_ahead(node, by_input)
        done = [use for uses in self._by_weight.values() for use in uses if use.changed]
        for use in done:
            self._store(use)
        if done:
            put_nodes(self._model, [node for node in self._graph.nodes if id(node) not in self._gone])
        return Absorbed([use.as_folded() for use in done], self._operators)

    def _use(self, node: NodeProto) -> _Use | None:
        graph = self._graph
        weights = graph.floats(node.input[1]) if graph.is_stored(node.input[1]) else None
        layout = None if weights is None else layout_of(node, weights.shape)
        output = original_output(node, self._original)
        if weights is None or layout is None or output is None or not np.isfinite(weights).all():
            return None
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = graph.floats(node.input[2])
            outputs = (layout.outputs,)
            fits = (outputs, (1, *outputs), (1,), (), (1, 1)) if layout.op_type == "Gemm" else (outputs,)
            if bias is None or bias.shape not in fits:
                return None
        unchanged = Affine.identity(layout.inputs), Affine.identity(layout.outputs)
        return _Use(node, layout, weights, bias, output, *unchanged)

    def _is_only_weight(self, weight: str, uses: list[_Use]) -> bool:
        """Whether these layers alone read a weight, all in the same way."""
        no_other_reader = len(self._graph.readers[weight]) == len(uses) and weight not in self._graph.kept
        return no_other_reader and all(use.layout == uses[0].layout for use in uses)

    def _rank(self, name: str) -> int | None:
        if self._inferred is None:
            self._inferred = infer(self._model)
        return self._inferred.rank(name)

    def _absorb_behind(self, uses: list[_Use]) -> None:
        chains = [self._chain(use) for use in uses]
        first = chains[0][1]
        if not any(nodes for nodes, _ in chains) or not all(
            np.array_equal(affine.scale, first.scale) for _, affine in chains
        ):
            return
        if not all(_is_finite(use, use.before, affine) for use, (_, affine) in zip(uses, chains, strict=True)):
            return
        for use, (nodes, affine) in zip(uses, chains, strict=True):
            use.after = affine
            use.changed = True
            if nodes:
                use.node.output[0] = nodes[-1].output[0]
            self._remove(nodes)

    def _chain(self, use: _Use) -> tuple[list[NodeProto], Affine]:
        """The operators that follow a layer and that it can absorb, and what they compute together."""
        name, affine, nodes = use.node.output[0], use.after, list[NodeProto]()
        product = use.layout.op_type == "MatMul"
        channels = use.layout.output_channels(self._rank(name) if product else None)
        while channels is not None:
            reader = self._graph.only_reader(name)
            step = None if reader is None else affine_of(self._graph, reader, name, channels)
            if reader is None or step is None or (product and step.shifts):
                break
            affine = affine.then(step)
            nodes.append(reader)
            name = next(one for one in reader.output if one)
        return nodes, affine

    def _absorb_ahead(self, node: NodeProto, by_input: dict[str, list[_Use]]) -> None:
        """Fold an operator into all layers that read what it makes, where nothing else does."""
        made = node.output[0]
        uses = by_input.get(made, [])
        if not uses or made in self._graph.kept or len(self._graph.readers[made]) != len(uses):
            return
        channels = uses[0].layout.input_channels()
        if channels is None or any(use.layout.input_channels() != channels for use in uses):
            return
        for name in dict.fromkeys(node.input):
            if not self._has_channels(node, name, channels.count):
                continue
            step = affine_of(self._graph, node, name, channels)
            if step is not None and all(_takes(use, step) for use in uses):
                for use in uses:
                    use.before, use.changed = step.then(use.before), True
                    use.node.input[0] = name
                readers = [one for one in self._graph.readers[name] if one is not node]
                self._graph.readers[name] = readers + [use.node for use in uses]
                by_input.setdefault(name, []).extend(uses)
                self._remove([node])
                return

    def _has_channels(self, node: NodeProto, name: str, count: int) -> bool:
        """Whether a value has the channels itself, and not only together with the constant that it meets."""
        if node.op_type == "BatchNormalization":
            return True
        dims = self._dims(name)
        made = self._dims(node.output[0])
        return dims is not None and made is not None and len(dims) == len(made) >= 2 and dims[1] == count

    def _dims(self, name: str) -> tuple[int | None, ...] | None:
        self._rank(name)
        assert self._inferred is not None
        return self._inferred.dims.get(name)

    def _remove(self, nodes: list[NodeProto]) -> None:
        self._gone.update(id(node) for node in nodes)
        self._operators.update(node.op_type for node in nodes)

    def _store(self, use: _Use) -> None:
        """Give a layer its new weight and bias; layers that share a weight give it the same value."""
        folded, graph, node = use.as_folded(), self._graph, use.node
        weights = folded.folded_weight(use.weights)
        if folded.weight in self._halves:
            weights = as_halves(weights)
        graph.replace(folded.weight, weights)
        if not (use.has_bias or use.after.shifts or use.before.shifts):
            return
        put_bias(graph, node, folded.weight, folded.folded_bias(use.weights, use.bias))


def original_output(node: NodeProto, original: Collection[str]) -> str | None:
    """The name of what a layer makes in the original, which a layer of half precision makes under another one."""
    name = node.output[0]
    return next((one for one in (name, name.removesuffix(WIDE)) if one in original), None)


def put_bias(graph: MainGraph, node: NodeProto, weight: str, bias: Array) -> None:
    """Let a layer add these, under the name of its bias where nothing else reads it."""
    own = node.input[2] if len(node.input) > 2 else ""
    if own and graph.is_stored(own) and graph.only_reader(own) is not None:
        graph.replace(own, bias)
    else:
        made = graph.add(f"{weight}.bias", bias)
        node.input[:] = [*node.input[:2], made]
        graph.readers[made] = [node]


def _takes(use: _Use, step: Affine) -> bool:
    """Whether a layer can absorb an operator ahead of it: what is padded with zeros can only be scaled."""
    if step.shifts and (use.layout.op_type == "ConvTranspose" or _pads(use.node)):
        return False
    return _is_finite(use, step.then(use.before), use.after)


def as_halves(weights: Array) -> Array:
    """Rounded to half precision, where that loses no more than its rounding."""
    with np.errstate(over="ignore"):
        rounded = weights.astype(np.float16).astype(np.float32)
    close = np.allclose(rounded, weights, rtol=2**-10, atol=2**-24)
    return rounded if close else weights


def _pads(node: NodeProto) -> bool:
    if node.op_type != "Conv" or attribute(node, "auto_pad", "NOTSET") == "VALID":
        return False
    return attribute(node, "auto_pad", "NOTSET") != "NOTSET" or any(attribute(node, "pads", []))


def _is_finite(use: _Use, before: Affine, after: Affine) -> bool:
    if not before.finite or not after.finite:
        return False
    folded = FoldedLayer("", "", None, use.layout, before, after)
    with np.errstate(all="ignore"):
        weights, bias = folded.folded_weight(use.weights), folded.folded_bias(use.weights, use.bias)
    return bool(np.isfinite(weights).all() and np.isfinite(bias).all())
