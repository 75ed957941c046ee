"""Removing channels that are zero whatever the image: a smaller model for every runtime, with the same outputs.

A filter without weights and without bias puts out zeros. Activations, pooling, resizing and arithmetic with constants
pass them on, sums and products keep them where both sides have them. Some make another number of zero: such a channel
goes where only a product reads it, whose other side is zero. A channel goes with its filters, with the weights that
read it and with its numbers in constants, where every node that sees it can do without; where one cannot, the zeros
stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.value_types import set_weights
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.unshare_biases import unshare_biases
from lth_deploy.compiler.one_shot.channel_constants import Constants
from lth_deploy.compiler.one_shot.channel_layers import dead_filters, groups_of, has_empty_filter, without_channels
from lth_deploy.compiler.one_shot.channel_operands import operand_of
from lth_deploy.compiler.one_shot.channel_places import Place, is_read_by, written_by
from lth_deploy.compiler.one_shot.channel_rules import (
    passes_constants,
    passes_zeros,
    readers_in,
    reads_no_channels,
)
from lth_deploy.compiler.one_shot.channel_splits import ends_of, set_split_sizes, split_sizes

BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RemovedChannels:
    """What became of dead channels, by the name of the weight that wrote them.

    removed: how many, of how many. left: why others are still there.
    """

    removed: dict[str, tuple[int, int]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def remove_dead_channels(model: NormalizedModel) -> tuple[NormalizedModel, RemovedChannels]:
    """The model without its dead channels, in which every layer keeps at least one; outputs are the same.

    Without a dead channel it is the model itself.

    Raises:
        ArtifactError: the model holds damaged tensors.
    """
    if not has_empty_filter(model.proto):
        return model, RemovedChannels()
    report = RemovedChannels()

    def remove(smaller: ModelProto) -> None:
        nonlocal report
        unshare_biases(smaller)
        channels = _Channels(smaller)
        channels.settle()
        report = RemovedChannels(*channels.removed_and_left())
        channels.remove(smaller)
        del smaller.graph.value_info[:]  # their sizes are not true any more

    smaller = model.edited(remove)
    return (smaller if report.removed else model), report


class _Channels:
    """Which channels of each value are dead, and which of those can go.

    Values that no layer writes, or of which some node made something else, are not followed. `gone` only shrinks from
    what is dead, until every node agrees. In the values of `gates`, what is made of zeros alone counts as dead, and is
    not zero.
    """

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        inputs = {value.name for value in graph.input}
        self._nodes = list(graph.node)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        self._makers = {output: node for node in self._nodes for output in node.output}
        self._readers = readers_in(graph, self._nodes)
        found = {id(node): operand_of(node, self._makers, self._tensors) for node in self._nodes}
        self._operands = {key: operand for key, operand in found.items() if operand is not None}
        self._splits: dict[int, list[int]] = {}
        self._places: dict[str, Place] = {}
        self._gone: dict[str, BoolArray] = {}
        self._gates: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._followed: dict[int, NodeProto] = {}
        for node in self._nodes:
            self._follow(node)
        self._count_biases()
        self._dead = {name: channels.copy() for name, channels in self._gone.items()}

    def settle(self) -> None:
        """Shrink what goes until all nodes agree."""
        for name in list(self._gone):
            self._hold_first(name)
            self._hold_for_readers(name)
        before = -1
        while before != (before := sum(int(gone.sum()) for gone in self._gone.values())):
            for node in self._followed.values():
                self._agree(node)
            for name in self._tensors:
                self._agree_on_tensor(name)

    def removed_and_left(self) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        """The two parts of `RemovedChannels`."""
        removed, left = {}, {}
        for node in self._layers():
            name, output = node.input[1], node.output[0]
            gone, dead = int(self._gone[output].sum()), int(self._dead[output].sum())
            if gone:
                removed[name] = (gone, len(self._gone[output]))
            if dead > gone:
                reason = self._reasons.get(output, "what shares them keeps them")
                left[name] = f"{dead - gone} dead channels stay: {reason}"
        return removed, left

    def remove(self, model: ModelProto) -> None:
        """Cut the weights, and what else has a number for each channel."""
        cut: dict[str, Array] = {}
        for node in self._layers():
            cut |= without_channels(node, self._tensors, self._gone[node.output[0]], self._read(node))
        for name, values in cut.items():
            set_weights(self._tensors[name], values)
        own = Constants(model, self._readers)
        for key, node in self._followed.items():
            operand, gone = self._operands.get(key), self._gone[node.output[0]]
            if operand is not None and not operand.is_number and gone.any():
                node.input[operand.place] = own.put(node.input[operand.place], operand.without(gone))
            elif key in self._splits and self._gone[node.input[0]].any():
                sizes = np.array([int((~self._gone[name]).sum()) for name in node.output], np.int64)
                name = node.input[1] if len(node.input) > 1 else f"{node.output[0]}.sizes"
                set_split_sizes(node, own.put(name, sizes))
        own.drop_unread()

    def _layers(self) -> list[NodeProto]:
        return [node for node in self._followed.values() if traits_of(node.op_type).removable_channels]

    def _read(self, layer: NodeProto) -> BoolArray | None:
        """The channels that go of what a layer multiplies; None where it is not followed, or has them elsewhere."""
        name = layer.input[0]
        return self._gone[name] if name in self._gone and is_read_by(self._places[name], layer) else None

    def _follow(self, node: NodeProto) -> None:
        if node.domain:
            return
        if traits_of(node.op_type).removable_channels:
            read = None if node.input[0] in self._gates else self._read(node)
            self._note(node, [dead_filters(node, self._tensors, read)], written_by(node))
        elif (data := self._data(node)) and all(name in self._gone for name in data):
            parts, places = [self._gone[name] for name in data], [self._places[name] for name in data]
            sizes = split_sizes(node, places[0], len(parts[0]), self._makers, self._tensors)
            if sizes is not None:
                self._splits[id(node)] = sizes
                self._note(node, np.split(parts[0], ends_of(sizes)), places[0])
            else:
                flat = Place.ROWS if node.op_type == "Flatten" else places[0]
                self._note(node, [self._passed(node, parts, places)], flat)
            if self._makes_gate(node):
                self._gates.update(node.output)

    def _note(self, node: NodeProto, dead: Sequence[BoolArray | None], place: Place) -> None:
        known = [channels for channels in dead if channels is not None]
        if len(known) == len(dead):
            self._gone |= zip(node.output, known, strict=True)
            self._places |= dict.fromkeys(node.output, place)
            self._followed[id(node)] = node

    def _count_biases(self) -> None:
        """Call a channel dead that is so with the constant which alone reads it: that is the bias of its layer."""
        for key, node in self._followed.items():
            operand = self._operands.get(key)
            if operand is not None and not operand.is_number and len(self._readers[operand.data]) == 1:
                self._gone[operand.data] &= self._gone[node.output[0]]

    def _passed(self, node: NodeProto, parts: list[BoolArray], places: list[Place]) -> BoolArray | None:
        """Dead channels of what a node without weights makes of its inputs' `parts`."""
        alike, sizes = len(set(places)) == 1, {len(part) for part in parts}
        if (operand := self._operands.get(id(node))) is not None:
            zeros, is_gate = operand.zeros_of(places[0], len(parts[0])), operand.data in self._gates
            if zeros is None or (is_gate and node.op_type == "Pow"):
                return None
            return parts[0].copy() if is_gate or operand.is_number else parts[0] & zeros
        if node.op_type == "Concat" and alike and places[0].is_axis(attribute(node, "axis", None)):
            return np.concatenate(parts)
        if traits_of(node.op_type).joins_zero_channels and alike and len(sizes) == 1:
            return np.asarray(np.logical_and.reduce(parts))
        passes = passes_zeros(node, places[0], self._makers, self._tensors) or passes_constants(node)
        return parts[0].copy() if passes else None

    def _makes_gate(self, node: NodeProto) -> bool:
        """Whether dead channels of what a node makes are other than zero."""
        gates = [name in self._gates for name in self._data(node)]
        operand = self._operands.get(id(node))
        if operand is not None and operand.is_number and operand.made.any():
            return True
        return passes_constants(node) or (all(gates) if node.op_type == "Mul" else any(gates))

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs whose channels a node takes; others say how."""
        if (operand := self._operands.get(id(node))) is not None:
            return [operand.data]
        return list(node.input) if traits_of(node.op_type).joins else list(node.input[:1])

    def _hold_for_readers(self, name: str) -> None:
        """Keep the channels of a value that something reads which cannot do without them."""
        for node in self._readers[name]:
            is_layer = traits_of(node.op_type).removable_channels
            if not self._takes(node, name) and not self._reads_sizes(node, name):
                self._keep_all(name, f"{node.op_type} reads them")
            elif name in self._gates and is_layer:
                self._keep_all(name, f"{node.op_type} reads them, and they are not zero")

    def _takes(self, node: NodeProto, name: str) -> bool:
        """Whether a node takes the channels of a value one by one."""
        if id(node) not in self._followed:
            return False
        if traits_of(node.op_type).removable_channels:
            return node.input[0] == name and is_read_by(self._places[name], node)
        return name in self._data(node)

    def _reads_sizes(self, node: NodeProto, name: str) -> bool:
        # Of tokens the place of the sizes is not known, as their rank is not.
        place = self._places[name]
        return place is not Place.TOKENS and reads_no_channels(node, name, self._readers, self._makers, self._tensors)

    def _agree(self, node: NodeProto) -> None:
        """Make inputs and output of a node lose what they can lose together."""
        output, data = node.output[0], [name for name in self._data(node) if name in self._gone]
        if node.op_type == "Concat":
            self._agree_on_parts(output, data)
        elif id(node) in self._splits:
            self._agree_on_parts(node.input[0], list(node.output))
        elif not traits_of(node.op_type).removable_channels:
            self._meet([*data, output], "what they are added to, or passed on to, keeps them")
        elif (groups := groups_of(node)) > 1:
            if data and groups == len(self._gone[output]) == len(self._gone[data[0]]):
                self._meet([*data, output], "a depth-wise convolution behind keeps them")
            else:
                for name in (*data, output):
                    self._keep_all(name, "a grouped convolution keeps them")

    def _agree_on_parts(self, whole: str, parts: list[str]) -> None:
        """Make values that lie one behind the other in another one lose what it loses there."""
        self._shrink(whole, np.concatenate([self._gone[name] for name in parts]), "a part keeps them")
        ends = ends_of([len(self._gone[name]) for name in parts])
        for name, part in zip(parts, np.split(self._gone[whole], ends), strict=True):
            self._shrink(name, part, "what they are joined to keeps them")

    def _agree_on_tensor(self, tensor: str) -> None:
        """Layers that share a weight or a bias lose the same channels; what else reads it needs it whole."""
        users = self._readers[tensor]
        layers = [node for node in users if id(node) in self._followed and traits_of(node.op_type).removable_channels]
        if not layers:
            return
        places = {tuple(place for place, name in enumerate(node.input) if name == tensor) for node in users}
        shared = len(layers) == len(users) and places in ({(1,)}, {(2,)})
        outputs = [node.output[0] for node in layers]
        inputs = [node.input[0] if self._read(node) is not None else "" for node in layers if node.input[1] == tensor]
        reason = "layers that share a weight keep them"
        for names in (outputs, inputs):
            known = [name for name in names if name in self._gone]
            if shared and len(known) == len(names):
                self._meet(known, reason)
            else:
                for name in known:
                    self._keep_all(name, reason)

    def _meet(self, names: list[str], reason: str) -> None:
        if names:
            together = np.logical_and.reduce([self._gone[name] for name in names])
            for name in names:
                self._shrink(name, together, reason)

    def _keep_all(self, name: str, reason: str) -> None:
        self._shrink(name, np.zeros_like(self._gone[name]), reason)

    def _shrink(self, name: str, to: BoolArray, reason: str) -> None:
        if (self._gone[name] & ~to).any():
            self._gone[name] = self._gone[name] & to
            self._reasons.setdefault(name, reason)

    def _hold_first(self, name: str) -> None:
        gone = self._gone[name]
        if gone.all():
            self._shrink(name, np.arange(len(gone)) > 0, "a layer keeps one channel")
