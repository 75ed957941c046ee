"""What becomes int8 and on which grids: all that dataflow allows, less what costs the outputs most."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from onnx import NodeProto, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.model.last_layers import last_layers
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.quantization.elementwise import Readers
from lth_deploy.compiler.quantization.trunk import Trunk, trunk_of


@dataclass(frozen=True)
class Plan:
    """Which weights stay float, and which tensors, each with the reason."""

    weights: Mapping[str, str]
    tensors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Int8Parts:
    """What of a model a plan makes int8.

    owners: every tensor on a grid, and the one whose grid it is. rounded: names of the weights.
    """

    trunk: Trunk
    owners: Mapping[str, str]
    rounded: tuple[str, ...]

    @property
    def tensors(self) -> list[str]:
        """Those that have grids of their own."""
        return list(dict.fromkeys(self.owners.values()))


class PlannedModel:
    """A float model with named nodes, and what is known of its dataflow."""

    def __init__(self, model: NormalizedModel) -> None:
        self.normalized, self.model = model, model.proto
        self.readers = Readers(self.model.graph)
        self._tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def whole(self) -> Trunk:
        """All that could be int8."""
        return trunk_of(self.model)

    @cached_property
    def last(self) -> list[NodeProto]:
        """The layers that no other follows; what they make stays float, and all behind them."""
        return last_layers(self.model.graph, {node.output[0] for node in self.whole.layers})

    def weight(self, name: str) -> Array:
        """An initializer."""
        return numpy_helper.to_array(self._tensors[name])

    def parts(self, plan: Plan) -> Int8Parts:
        """What of the model a plan makes int8."""
        floats = set(plan.tensors) | {node.output[0] for node in self.last}
        while True:
            trunk = trunk_of(self.model, lambda node: node.input[1] not in plan.weights, floats=floats)
            absorbed = trunk.absorbed(self.readers.of)
            owners = {
                name: owner for name, owner in trunk.owners.items() if owner not in floats and name not in absorbed
            }
            useless = self._useless(trunk, owners, plan)
            if not useless:
                return Int8Parts(trunk, owners, tuple(dict.fromkeys(node.input[1] for node in trunk.layers)))
            floats |= useless

    def _useless(self, trunk: Trunk, owners: Mapping[str, str], plan: Plan) -> set[str]:
        """Tensors whose activation makes nothing but what the plan keeps in floats: a grid before it serves nobody."""
        useless = set()
        for node in trunk.layers:
            name = node.output[0]
            if owners.get(name) == name:
                found = self.readers.elementwise(name)
                if found.nodes and all(result in plan.tensors for result in found.results):
                    useless.add(name)
        return useless

    def layers_of(self, parts: Int8Parts, tensor: str) -> set[str]:
        """Weights of the int8 layers that read a tensor, or one on its grid."""
        return {node.input[1] for node in parts.trunk.layers if parts.owners.get(node.input[0]) == tensor}


def without(plan: Plan, weights: Mapping[str, str], tensors: Mapping[str, str]) -> Plan:
    """The plan with more in floats."""
    return replace(plan, weights={**plan.weights, **weights}, tensors={**plan.tensors, **tensors})
