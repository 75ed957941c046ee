"""Branches of a sum that are convolutions of one value, and where the taps of one lie in the window of another."""

import itertools
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.importing.plain.affine import Affine, Channels, FloatArray, affine_of, may_be_affine
from lth_deploy.compiler.importing.plain.layer_weights import LayerLayout, layout_of
from lth_deploy.compiler.importing.plain.main_graph import MainGraph, standard
from lth_deploy.compiler.importing.plain.pads import own_pads
from lth_deploy.compiler.model.attributes import attribute


@dataclass(frozen=True)
class Axis:
    """One direction of a window. before, behind: zeros around the input."""

    size: int
    stride: int
    dilation: int
    before: int
    behind: int

    def shrinks(self) -> int:
        """Places that the input has more than the output, before strides are left out."""
        return (self.size - 1) * self.dilation - self.before - self.behind

    def place(self, offset: int) -> int | None:
        """The tap that reads this far from the first place; None where no tap does."""
        tap, rest = divmod(offset + self.before, self.dilation)
        return tap if rest == 0 and 0 <= tap < self.size else None


@dataclass(frozen=True)
class Branch:
    """A convolution of `source`, or what scales and shifts its channels, as one.

    node: the Conv, None for the others. nodes: all that make the branch. weights: grouped [group, outputs, inputs,
    taps]. bias: one for each output.
    """

    source: str
    node: NodeProto | None
    nodes: tuple[NodeProto, ...]
    layout: LayerLayout
    axes: tuple[Axis, ...]
    weights: FloatArray
    bias: FloatArray

    def weights_in(self, other: "Branch") -> FloatArray | None:
        """Weights with which the other convolution, which has as many taps or more, computes this one."""
        same = self.layout.group == other.layout.group and self.layout.outputs == other.layout.outputs
        if not same or len(self.axes) != len(other.axes):
            return None
        for own, theirs in zip(self.axes, other.axes, strict=True):
            if own.stride != theirs.stride or own.shrinks() != theirs.shrinks():
                return None
        made = np.zeros_like(other.weights)
        sizes = [axis.size for axis in other.axes]
        for number, taps in enumerate(itertools.product(*(range(axis.size) for axis in self.axes))):
            places = [
                theirs.place(tap * own.dilation - own.before)
                for tap, own, theirs in zip(taps, self.axes, other.axes, strict=True)
            ]
            if any(place is None for place in places):
                return None
            made[..., np.ravel_multi_index([place or 0 for place in places], sizes)] = self.weights[..., number]
        return made


def conv_branch(graph: MainGraph, name: str) -> Branch | None:
    """The Conv that makes a value, which one node alone reads; None where its weights are no constants of its own."""
    node = graph.makers.get(name)
    if node is None or not standard(node, "Conv") or graph.only_reader(name) is None:
        return None
    weights = graph.floats(node.input[1]) if graph.is_stored(node.input[1]) else None
    layout = None if weights is None else layout_of(node, weights.shape)
    if weights is None or layout is None or graph.only_reader(node.input[1]) is not node:
        return None
    axes, bias = _axes(node, weights.shape[2:]), np.zeros(layout.outputs)
    if len(node.input) > 2 and node.input[2]:
        given = graph.floats(node.input[2])
        if given is None or given.shape != bias.shape:
            return None
        bias = given.astype(np.float64)
    if axes is None or not np.isfinite(weights).all() or not np.isfinite(bias).all():
        return None
    return Branch(node.input[0], node, (node,), layout, axes, layout.grouped(weights), bias)


def scaled_branch(graph: MainGraph, name: str, beside: Branch) -> Branch | None:
    """What scales and shifts each channel of the value that a convolution with as many outputs reads, as a branch.

    It has no nodes where that is the value itself; None where it is anything else.
    """
    channels = Channels(beside.layout.inputs, len(beside.layout.shape), 1)
    if beside.layout.outputs != beside.layout.inputs:
        return None
    affine, nodes = Affine.identity(channels.count), list[NodeProto]()
    while name != beside.source:
        node = graph.makers.get(name)
        if node is None or not may_be_affine(node) or graph.only_reader(name) is None:
            return None
        found = [(one, affine_of(graph, node, one, channels)) for one in dict.fromkeys(node.input)]
        steps = [(one, step) for one, step in found if step is not None]
        if len(steps) != 1:
            return None
        name, step = steps[0]
        affine = step.then(affine)
        nodes.append(node)
    group, rank = beside.layout.group, len(beside.axes)
    size = channels.count // group
    layout = LayerLayout("Conv", (channels.count, size) + (1,) * rank, group, inputs_first=False)
    weights = (np.eye(size) * affine.scale.reshape(group, size, 1))[..., None]
    return Branch(name, None, tuple(nodes), layout, (Axis(1, 1, 1, 0, 0),) * rank, weights, affine.shift)


def _axes(node: NodeProto, kernel: tuple[int, ...]) -> tuple[Axis, ...] | None:
    spatial = len(kernel)
    pads = own_pads(node, spatial)
    strides, dilations = (list(attribute(node, name, [1] * spatial)) for name in ("strides", "dilations"))
    if pads is None or len(strides) != spatial or len(dilations) != spatial:
        return None
    rows = zip(kernel, strides, dilations, pads[:spatial], pads[spatial:], strict=True)
    return tuple(Axis(*(int(number) for number in row)) for row in rows)
