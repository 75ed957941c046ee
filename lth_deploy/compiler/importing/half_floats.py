"""Layers of float16 and bfloat16 as layers of float32 between conversions.

ONNX Runtime has no half precision convolution on x86 processors: it converts to float32 before each node and back
behind it. Doing that on import, once around connected nodes instead of around each, changes no weight and only leaves
out roundings; and all passes and kernels then find the float32 that they work on.
"""

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.half_weights import half_obstacles
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.tensor_types import type_name
from lth_deploy.compiler.model.traverse import (
    all_graphs,
    all_nodes,
    consumed_names,
    inner_graphs,
    unused_name,
    used_names,
)
from lth_deploy.element_types import HALF_TYPES

WIDE = ".float32"
"""What the name of a value of half precision gets where it is computed in float32."""


def widen_halves(model: ModelProto) -> list[str]:
    """Convert, in place, layers of half precision with constant weights; what was done.

    Weights keep their names and become float32, exactly. What else reads them gets them in their own type. Layers in
    branches and loops stay as they are.
    """
    widening = _Widening(model)
    count = widening.run()
    return [f"{count} layers of {' and '.join(sorted(widening.types))} are computed in float32"] if count else []


class _Widening:
    """Goes through the main graph once.

    wide: the float32 twin of values of half precision. kinds: their own types. widened: constants that become float32.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.types: set[str] = set()
        self._halves = {one.name: one.data_type for one in model.graph.initializer if one.data_type in HALF_TYPES}
        stay = half_obstacles(model)
        self._layers = {name for name, reason in stay.items() if reason is None}
        returned = {value.name for graph in all_graphs(model.graph) for value in graph.output}
        self._fixed = returned | {value.name for value in model.graph.input}
        self._names = used_names(model)
        self._wide: dict[str, str] = {}
        self._kinds: dict[str, int] = {}
        self._narrow: set[str] = set()
        self._widened: set[str] = set()
        self._nodes: list[NodeProto] = []
        self._others: list[NodeProto] = []

    def run(self) -> int:
        """Widen; the number of layers."""
        layers = 0
        for node in self.model.graph.node:
            traits = traits_of(node.op_type)
            standard = node.domain in STANDARD_DOMAINS and len(node.input) > 0
            if standard and traits.float_layer and node.input[1] in self._layers:
                layers += 1
                self._widen(node, range(len(node.input)), self._halves[node.input[1]])
            elif standard and traits.follows_widening and self._follows(node):
                kind = next(self._kinds[name] for name in node.input if name in self._kinds)
                self._widen(node, range(len(node.input)) if traits.joins else traits.float_inputs, kind)
            else:
                self._nodes.append(node)
                self._others.append(node)
        if layers:
            self._store()
        return layers

    def _follows(self, node: NodeProto) -> bool:
        data = node.input if traits_of(node.op_type).joins else node.input[:1]
        return any(name in self._kinds for name in data)

    def _widen(self, node: NodeProto, places: Iterable[int], kind: int) -> None:
        self.types.add(type_name(kind))
        for place in places:
            if place < len(node.input) and node.input[place]:
                node.input[place] = self._twin(node.input[place], node, place)
        self._nodes.append(node)
        for place, name in enumerate(node.output):
            if name and (place == 0 or not traits_of(node.op_type).first_output_only):
                node.output[place] = twin = unused_name(f"{name}{WIDE}", self._names)
                self._wide[name], self._kinds[name] = twin, kind
                self._narrow.add(name)
                self._nodes.append(helper.make_node("Cast", [twin], [name], f"narrow:{name}", to=kind))

    def _twin(self, name: str, node: NodeProto, place: int) -> str:
        """The float32 value of an input: of what was widened, of a constant, or by a conversion."""
        if name in self._halves and name not in self._fixed:
            self._widened.add(name)
            return name
        if name in self._wide:
            return self._wide[name]
        if node.op_type == "BatchNormalization" and place > 0 and name not in self._halves:
            return name  # statistics may be float32 already
        twin = self._wide[name] = unused_name(f"{name}{WIDE}", self._names)
        self._nodes.append(helper.make_node("Cast", [name], [twin], f"widen:{name}", to=TensorProto.FLOAT))
        return twin

    def _store(self) -> None:
        """Put nodes and constants in their places, without conversions that nobody needs."""
        graph = self.model.graph
        nodes = [*self._for_others(), *self._nodes]
        del graph.node[:]
        graph.node.extend(nodes)
        for tensor in graph.initializer:
            if tensor.name in self._widened:
                tensor.CopyFrom(numpy_helper.from_array(array_of(tensor).astype(np.float32), tensor.name))
        read = consumed_names(self.model)
        kept = [node for node in graph.node if node.output[0] not in self._narrow or node.output[0] in read]
        made = {name for node in kept for name in node.output}
        del graph.node[:]
        graph.node.extend(kept)
        infos = [one for one in graph.value_info if one.name in made]
        del graph.value_info[:]
        graph.value_info.extend(infos)

    def _for_others(self) -> list[NodeProto]:
        """Conversions of widened constants to their own type, which all other nodes read instead."""
        copies: dict[str, str] = {}
        for outer in self._others:
            inner = [one for graph in inner_graphs(outer) for one in all_nodes(graph)]
            for node in (outer, *inner):
                for place, name in enumerate(node.input):
                    if name in self._widened:
                        if name not in copies:
                            copies[name] = unused_name(f"{name}.narrow", self._names)
                        node.input[place] = copies[name]
        return [
            helper.make_node("Cast", [name], [copy], f"narrow:{name}", to=self._halves[name])
            for name, copy in copies.items()
        ]
