"""Layers whose filters can be taken out: which of these put out zeros, and what is left when they are gone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.one_shot.channel_rules import Tensors, weight_by_output

BoolArray = npt.NDArray[np.bool_]


def has_empty_filter(model: ModelProto) -> bool:
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


def groups_of(node: NodeProto) -> int:
    """The groups of a layer; 1 of anything else."""
    return int(attribute(node, "group", 1))


def bias_of(node: NodeProto) -> str:
    """The name of a layer's bias, empty where it has none."""
    return node.input[2] if len(node.input) > 2 else ""


def dead_filters(node: NodeProto, tensors: Tensors, read: BoolArray | None) -> BoolArray | None:
    """Filters of a layer that put out zeros; None where they are no constants that can be cut.

    read: which channels of its input are zero, as far as that is known.
    """
    bias, axis = bias_of(node), weight_by_output(node)
    if attribute(node, "transA", 0) or node.input[1] not in tensors or (bias and bias not in tensors):
        return None
    weights, groups = array_of(tensors[node.input[1]]), groups_of(node)
    if weights.ndim != (4 if node.op_type == "Conv" else 2) or groups < 1 or weights.shape[axis] % groups:
        return None
    weights = np.moveaxis(weights, axis, 0)
    if read is None:
        read = np.zeros(weights.shape[1] * groups, np.bool_)
    if len(read) != weights.shape[1] * groups:
        return None
    used = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1) != 0
    dead = ~(used & ~read.reshape(groups, 1, -1, 1)).any(axis=(2, 3)).reshape(-1)
    if bias:
        values = array_of(tensors[bias])
        if values.size != len(dead) or values.shape[-1:] != (len(dead),):
            return None
        dead &= values.reshape(-1) == 0
    return np.asarray(dead)


def without_channels(
    node: NodeProto, tensors: Mapping[str, TensorProto], gone: BoolArray, read: BoolArray | None
) -> dict[str, npt.NDArray[Any]]:
    """Weight and bias of a layer without the filters that are gone and the channels of its input that are.

    Sets the number of its groups in place.
    """
    weight, bias, axis = node.input[1], bias_of(node), weight_by_output(node)
    values = np.compress(~gone, array_of(tensors[weight]), axis)
    if groups_of(node) > 1:
        _set_groups(node, int((~gone).sum()), len(gone))
    elif read is not None:
        values = np.compress(~read, values, 1 - axis)
    cut = {weight: values}
    if bias:
        cut[bias] = np.compress(~gone, array_of(tensors[bias]), -1)
    return cut


def _set_groups(node: NodeProto, groups: int, before: int) -> None:
    if groups != before:
        kept = [one for one in node.attribute if one.name != "group"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("group", groups)])
