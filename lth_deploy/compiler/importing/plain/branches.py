"""Sums of convolutions of one value as one convolution: RepConv of YOLOv9, RepVGG of PP-YOLOE, QARepVGG of YOLO-NAS.

The weights of the smaller window are added to those of the larger one, and a batch norm or a copy of the value beside
them is a diagonal of weights. Zeros of both that meet stay zeros, so no more weights are left than both had together.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import ModelProto, NodeProto

from lth_deploy.compiler.importing.plain.absorb import as_halves, original_output, put_bias
from lth_deploy.compiler.importing.plain.affine import Affine, FloatArray
from lth_deploy.compiler.importing.plain.conv_branch import Branch, conv_branch, scaled_branch
from lth_deploy.compiler.importing.plain.folded_layer import FoldedLayer
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, put_nodes, standard


@dataclass
class Merged:
    """layers: all that absorbed something, those that were merged into others no more. weights: of merged layers."""

    layers: list[FoldedLayer] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)


def merge_branches(
    model: ModelProto,
    layers: Sequence[FoldedLayer],
    original: Collection[str],
    *,
    without: Collection[str] = (),
    halves: Collection[str] = (),
) -> Merged:
    """Merge, in place, each sum of two branches of one value that nothing else reads; a longer sum from its start.

    Args:
        model: a normalized one.
        layers: what absorbed something before.
        original: see `absorb`.
        without: see `absorb`.
        halves: see `absorb`.
    """
    if not any(standard(node, "Add") for node in model.graph.node):
        return Merged(list(layers))
    return _Merging(model, layers, original, without, halves).run()


class _Merging:
    def __init__(
        self,
        model: ModelProto,
        layers: Sequence[FoldedLayer],
        original: Collection[str],
        without: Collection[str],
        halves: Collection[str],
    ) -> None:
        self._model = model
        self._graph = MainGraph(model)
        self._original = original
        self._without = without
        self._halves = halves
        self._absorbed = {(layer.weight, layer.output): layer for layer in layers}
        self._merged: dict[str, FoldedLayer] = {}

    def run(self) -> Merged:
        nodes: list[NodeProto] = []
        for node in self._graph.nodes:
            merged = self._merged_sum(node) if standard(node, "Add") and len(node.input) == 2 else None
            if merged is None:
                nodes.append(node)
                continue
            whole, gone = merged
            nodes = [one for one in nodes if all(one is not other for other in gone)]
            nodes.append(whole)
        if self._merged:
            put_nodes(self._model, nodes)
        return Merged([*self._absorbed.values(), *self._merged.values()], list(self._merged))

    def _merged_sum(self, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
        """The convolution that takes the place of a sum, and the nodes that go; None where it is no sum of branches."""
        for first, second in (node.input, node.input[::-1]):
            whole = conv_branch(self._graph, first)
            part = None if whole is None or first == second else self._part(second, whole)
            record = None if whole is None or part is None else self._record(whole)
            if whole is None or part is None or record is None:
                continue
            weights = part.weights_in(whole)
            if weights is None or not self._merge(whole, part, weights, record):
                continue
            assert whole.node is not None
            whole.node.output[0] = node.output[0]
            self._graph.makers[node.output[0]] = whole.node
            return whole.node, [whole.node, *part.nodes]
        return None

    def _part(self, name: str, whole: Branch) -> Branch | None:
        """What is added to a convolution; the value that it reads only where branches were merged before."""
        found = conv_branch(self._graph, name)
        if found is not None:
            assert found.node is not None
            return found if found.source == whole.source and found.node.input[1] not in self._without else None
        assert whole.node is not None
        found = scaled_branch(self._graph, name, whole)
        return found if found is not None and (found.nodes or whole.node.input[1] in self._merged) else None

    def _record(self, whole: Branch) -> FoldedLayer | None:
        """How the original computes a convolution; None where no weight of the original stands for one of its own."""
        assert whole.node is not None
        weight = whole.node.input[1]
        if weight in self._without:
            return None
        if weight in self._merged:
            return self._merged[weight]
        for layer in self._absorbed.values():
            if layer.weight == weight:
                return layer if layer.after.scale.all() and layer.before.scale.all() else None
        output = original_output(whole.node, self._original)
        if output is None:
            return None
        layout = whole.layout
        bias = whole.node.input[2] if len(whole.node.input) > 2 else None
        unchanged = Affine.identity(layout.inputs), Affine.identity(layout.outputs)
        return FoldedLayer(weight, output, bias or None, layout, *unchanged)

    def _merge(self, whole: Branch, part: Branch, weights: FloatArray, record: FoldedLayer) -> bool:
        graph, node = self._graph, whole.node
        assert node is not None
        with np.errstate(over="ignore"):
            sums = whole.layout.as_stored(whole.weights + weights).astype(np.float32)
            bias = (whole.bias + part.bias).astype(np.float32)
        if not np.isfinite(sums).all() or not np.isfinite(bias).all():
            return False
        graph.replace(record.weight, as_halves(sums) if record.weight in self._halves else sums)
        if record.bias is not None or bias.any():
            put_bias(graph, node, record.weight, bias)
        self._forget(record)
        if part.node is not None:
            for layer in [one for one in self._layers() if one.weight == part.node.input[1]]:
                self._forget(layer)
        for one in part.nodes:
            graph.readers[part.source] = [reader for reader in graph.readers[part.source] if reader is not one]
        named = (node.input[2] or None) if len(node.input) > 2 else None
        self._merged[record.weight] = replace(record.with_beside(weights, part.bias), bias=named)
        return True

    def _layers(self) -> list[FoldedLayer]:
        return [*self._absorbed.values(), *self._merged.values()]

    def _forget(self, layer: FoldedLayer) -> None:
        self._absorbed.pop((layer.weight, layer.output), None)
        self._merged.pop(layer.weight, None)
