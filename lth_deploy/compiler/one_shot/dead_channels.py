"""Removing channels that are zero whatever the image: a smaller model for every runtime, with the same outputs.

A filter without weights and without bias puts out zeros. Activations, pooling and resizing pass them on, sums and
products keep them where both sides have them. Some activations make another number of zero: such a channel goes where
only a product reads it, whose other side is zero. A channel goes with its filters and with the weights that read it,
where every node that sees it can do without; where one cannot, the zeros stay.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.artifact.value_types import set_weights
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.unshare_biases import unshare_biases
from lth_deploy.compiler.one_shot.channel_rules import (
    bias_of,
    groups_of,
    is_scalar,
    passes_constants,
    passes_zeros,
    read_elsewhere,
    reads_no_channels,
    weight_by_output,
)

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
    if not _has_empty_filter(model.proto):
        return model, RemovedChannels()
    report = RemovedChannels()

    def remove(smaller: ModelProto) -> None:
        nonlocal report
        unshare_biases(smaller)
        channels = _Channels(smaller)
        channels.settle()
        report = RemovedChannels(*channels.removed_and_left())
        channels.remove()
        del smaller.graph.value_info[:]  # their sizes are not true any more

    smaller = model.edited(remove)
    return (smaller if report.removed else model), report


def _has_empty_filter(model: ModelProto) -> bool:
    """Whether some layer has a filter without weights; without one, no channel is dead."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if traits_of(node.op_type).removable_channels and not node.domain and node.input[1] in tensors:
            weights = array_of(tensors[node.input[1]])
            if weights.ndim > 1:
                inner = tuple(axis for axis in range(weights.ndim) if axis != weight_by_output(node))
                if not weights.any(axis=inner).all():
                    return True
    return False


_ELSEWHERE = NodeProto(op_type="what is outside of the graph")
"""Stands for a reader that is no node of the main graph."""


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
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self._nodes:
            for name in filter(None, node.input):
                self._readers[name].append(node)
        for name in read_elsewhere(graph):
            self._readers[name].append(_ELSEWHERE)
        self._ranks: dict[str, int] = {}
        self._gone: dict[str, BoolArray] = {}
        self._gates: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._followed: list[NodeProto] = []
        for node in self._nodes:
            self._follow(node)
        self._dead = {name: channels.copy() for name, channels in self._gone.items()}

    def settle(self) -> None:
        """Shrink what goes until all nodes agree."""
        for name in list(self._gone):
            self._hold_first(name)
            self._hold_for_readers(name)
        before = -1
        while before != (before := sum(int(gone.sum()) for gone in self._gone.values())):
            for node in self._followed:
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

    def remove(self) -> None:
        """Cut the weights."""
        cut: set[str] = set()
        for node in self._layers():
            output, weight = self._gone[node.output[0]], node.input[1]
            read = self._gone.get(node.input[0])
            if weight not in cut:
                cut.add(weight)
                axis = weight_by_output(node)
                values = np.compress(~output, array_of(self._tensors[weight]), axis)
                if read is not None and groups_of(node) == 1:
                    values = np.compress(~read, values, 1 - axis)
                set_weights(self._tensors[weight], values)
            if groups_of(node) > 1:
                self._set_groups(node, int((~output).sum()), len(output))
            if (bias := bias_of(node)) and bias not in cut:
                cut.add(bias)
                set_weights(self._tensors[bias], np.compress(~output, array_of(self._tensors[bias]), -1))

    def _layers(self) -> list[NodeProto]:
        return [node for node in self._followed if traits_of(node.op_type).removable_channels]

    def _follow(self, node: NodeProto) -> None:
        if node.domain:
            return
        if traits_of(node.op_type).removable_channels:
            dead = self._dead_filters(node)
            rank = 2 if node.op_type == "Gemm" else 4
        elif not (data := self._data(node)) or any(name not in self._gone for name in data):
            return
        else:
            parts, ranks = ([of[name] for name in data] for of in (self._gone, self._ranks))
            dead, rank = self._passed(node, parts, ranks)
            if self._makes_gate(node):
                self._gates.add(node.output[0])
        if dead is not None:
            self._gone[node.output[0]], self._ranks[node.output[0]] = dead, rank
            self._followed.append(node)

    def _passed(self, node: NodeProto, parts: list[Any], ranks: list[Any]) -> tuple[BoolArray | None, int]:
        """Dead channels of what a node without weights makes of its inputs' `parts`."""
        alike = len(set(ranks)) == 1
        if node.op_type == "Concat" and alike and attribute(node, "axis", None) in (1, 1 - ranks[0]):
            return np.concatenate(parts), ranks[0]
        scaled, sizes = node.op_type == "Mul" and len(parts) == 1, {len(part) for part in parts}
        if traits_of(node.op_type).joins_zero_channels and not scaled and alike and len(sizes) == 1:
            return np.logical_and.reduce(parts), ranks[0]
        if scaled or passes_zeros(node, ranks[0], self._makers, self._tensors) or passes_constants(node):
            return parts[0].copy(), 2 if node.op_type == "Flatten" else ranks[0]
        return None, 0

    def _makes_gate(self, node: NodeProto) -> bool:
        """Whether dead channels of what a node makes are other than zero."""
        gates = [name in self._gates for name in self._data(node)]
        return passes_constants(node) or (all(gates) if node.op_type == "Mul" else any(gates))

    def _data(self, node: NodeProto) -> list[str]:
        """The inputs whose channels a node takes; others say how."""
        if node.op_type == "Mul":
            return [name for name in node.input if not is_scalar(name, self._makers, self._tensors)]
        return list(node.input) if traits_of(node.op_type).joins else list(node.input[:1])

    def _dead_filters(self, node: NodeProto) -> BoolArray | None:
        """Filters that put out zeros; None where they are no constants that can be cut."""
        bias, axis = bias_of(node), weight_by_output(node)
        if attribute(node, "transA", 0) or node.input[1] not in self._tensors or (bias and bias not in self._tensors):
            return None
        weights = np.moveaxis(array_of(self._tensors[node.input[1]]), axis, 0)
        groups = groups_of(node)
        if weights.ndim != (2 if node.op_type == "Gemm" else 4) or groups < 1 or len(weights) % groups:
            return None
        read = self._gone.get(node.input[0], np.zeros(weights.shape[1] * groups, np.bool_))
        if len(read) != weights.shape[1] * groups:
            return None
        read = read & (node.input[0] not in self._gates)
        used = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1) != 0
        dead = ~(used & ~read.reshape(groups, 1, -1, 1)).any(axis=(2, 3)).reshape(-1)
        if bias:
            values = array_of(self._tensors[bias])
            if values.size != len(dead) or values.shape[-1:] != (len(dead),):
                return None
            dead &= values.reshape(-1) == 0
        return np.asarray(dead)

    def _hold_for_readers(self, name: str) -> None:
        """Keep the channels of a value that something reads which cannot do without them."""
        handled = {id(node) for node in self._followed}
        for node in self._readers[name]:
            takes = id(node) in handled and (node.input[0] == name or traits_of(node.op_type).joins)
            if not takes and not reads_no_channels(node, name, self._readers, self._makers, self._tensors):
                self._keep_all(name, f"{node.op_type} reads them")
            elif name in self._gates and traits_of(node.op_type).removable_channels:
                self._keep_all(name, f"{node.op_type} reads them, and they are not zero")

    def _agree(self, node: NodeProto) -> None:
        """Make inputs and output of a node lose what they can lose together."""
        output, data = node.output[0], [name for name in self._data(node) if name in self._gone]
        if node.op_type == "Concat":
            ends = np.cumsum([len(self._gone[name]) for name in data])[:-1]
            self._shrink(output, np.concatenate([self._gone[name] for name in data]), "a part keeps them")
            for name, part in zip(data, np.split(self._gone[output], ends), strict=True):
                self._shrink(name, part, "what they are joined to keeps them")
        elif not traits_of(node.op_type).removable_channels:
            self._meet([*data, output], "what they are added to, or passed on to, keeps them")
        elif (groups := groups_of(node)) > 1:
            if data and groups == len(self._gone[output]) == len(self._gone[data[0]]):
                self._meet([*data, output], "a depth-wise convolution behind keeps them")
            else:
                for name in (*data, output):
                    self._keep_all(name, "a grouped convolution keeps them")

    def _agree_on_tensor(self, tensor: str) -> None:
        """Layers that share a weight or a bias lose the same channels; what else reads it needs it whole."""
        users, followed = self._readers[tensor], {id(node) for node in self._followed}
        layers = [node for node in users if id(node) in followed and traits_of(node.op_type).removable_channels]
        if not layers:
            return
        places = {tuple(place for place, name in enumerate(node.input) if name == tensor) for node in users}
        shared = len(layers) == len(users) and places in ({(1,)}, {(2,)})
        outputs = [node.output[0] for node in layers]
        inputs = [node.input[0] for node in layers if node.input[1] == tensor]
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

    @staticmethod
    def _set_groups(node: NodeProto, groups: int, before: int) -> None:
        if groups != before:
            kept = [one for one in node.attribute if one.name != "group"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("group", groups)])
