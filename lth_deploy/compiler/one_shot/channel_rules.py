"""What nodes of an ONNX graph do with the channels of their first input: pass zeros on, or read sizes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto

from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.one_shot.channel_places import Place

_POOLED = ("GlobalAveragePool", "GlobalMaxPool")
_INFINITE_OF_ZERO = ("Log", "Reciprocal")

_ELSEWHERE = NodeProto(op_type="what is outside of the graph")
"""Stands for a reader that is no node of the main graph."""

Makers = Mapping[str, NodeProto]
Tensors = Mapping[str, TensorProto]


def weight_by_output(node: NodeProto) -> int:
    """The axis of a layer's weight that counts its outputs."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def passes_zeros(node: NodeProto, place: Place, makers: Makers, tensors: Tensors) -> bool:
    """Whether each channel of a node's output is made of the same one of its first input, at `place`: zero of zero."""
    if node.domain or len(node.output) != 1:
        return False
    if traits_of(node.op_type).keeps_zero_channels:
        # Pools see images: of tokens they would make one of several channels.
        return place is Place.IMAGES or traits_of(node.op_type).keeps_shape
    if node.op_type == "Clip":
        low, high = (constant(name, makers, tensors) for name in (*node.input[1:], "", "")[:2])
        given = [name for name in node.input[1:] if name]
        bounds = [bound for bound in (low, high) if bound is not None]
        return len(bounds) == len(given) and (low is None or bool(low <= 0)) and (high is None or bool(high >= 0))
    if node.op_type == "Flatten":
        maker = makers.get(node.input[0])
        pooled = maker is not None and maker.op_type in _POOLED
        return attribute(node, "axis", 1) == 1 and (place is Place.ROWS or (place is Place.IMAGES and pooled))
    return node.op_type == "Resize" and place is Place.IMAGES and _resizes_images(node, makers, tensors)


def passes_constants(node: NodeProto) -> bool:
    """Whether each element of a node's output is a function of the same one of its input: of zero another number."""
    traits = traits_of(node.op_type)
    unary = traits.elementwise and traits.keeps_shape and not traits.clamps and len(node.input) == 1
    return unary and not (node.domain or traits.keeps_zero_channels or node.op_type in _INFINITE_OF_ZERO)


def reads_no_channels(
    node: NodeProto, name: str, readers: Mapping[str, list[NodeProto]], makers: Makers, tensors: Tensors
) -> bool:
    """Whether `node` reads of the value `name` only sizes that are not its number of channels, or follow it."""
    if node.op_type != "Shape" or node.domain or attribute(node, "start", 0) or attribute(node, "end", None):
        return False
    return all(_picks_sizes(reader, name, readers, makers, tensors) for reader in readers[node.output[0]])


def _picks_sizes(
    node: NodeProto, name: str, readers: Mapping[str, list[NodeProto]], makers: Makers, tensors: Tensors
) -> bool:
    known = [constant(one, makers, tensors) for one in node.input[1:]]
    picked = [one for one in known if one is not None]
    if not picked or len(picked) < len(known):
        return False
    if node.op_type == "Gather":
        return bool(np.isin(picked[0], (0, 2, 3)).all())
    if node.op_type != "Slice" or len(picked) < 2:
        return False
    start, end = int(np.ravel(picked[0])[0]), int(np.ravel(picked[1])[0])
    if start >= 2 or (start == 0 and end == 1):
        return True
    # Batch and channels of the value, joined to new sides: a resize of this very value.
    joined = readers[node.output[0]]
    return (
        start == 0
        and all(one.op_type == "Concat" and one.input[0] == node.output[0] for one in joined)
        and all(last.op_type == "Resize" and last.input[0] == name for one in joined for last in readers[one.output[0]])
    )


def _resizes_images(node: NodeProto, makers: Makers, tensors: Tensors) -> bool:
    """Whether a Resize leaves batch and channels as they are, however many these are."""
    if attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize" or attribute(node, "axes", None):
        return False
    if len(node.input) > 3 and node.input[3]:
        return _begins_as(node.input[3], node.input[0], makers, tensors)
    scales = constant(node.input[2], makers, tensors) if len(node.input) > 2 else None
    return scales is not None and scales.size > 2 and bool((scales[:2] == 1).all())


def _begins_as(sizes: str, name: str, makers: Makers, tensors: Tensors) -> bool:
    """Whether `sizes` are the first two of the value `name`, and others."""
    join = makers.get(sizes)
    part = makers.get(join.input[0]) if join is not None and join.op_type == "Concat" else None
    if part is None or part.op_type != "Slice":
        return False
    shape = makers.get(part.input[0])
    bounds = [constant(one, makers, tensors) for one in part.input[1:3]]
    begins = [
        one is not None and np.ravel(one).tolist() == [wanted] for one, wanted in zip(bounds, (0, 2), strict=True)
    ]
    return shape is not None and shape.op_type == "Shape" and shape.input[0] == name and all(begins)


def constant(name: str, makers: Makers, tensors: Tensors) -> npt.NDArray[Any] | None:
    """The value of a constant: an initializer, a node, or several of them in a row; None of what else is computed."""
    if name in tensors:
        return array_of(tensors[name])
    maker = makers.get(name)
    if maker is not None and maker.op_type == "Concat" and not maker.domain:
        parts = [part for one in maker.input if (part := constant(one, makers, tensors)) is not None and part.ndim == 1]
        return np.concatenate(parts) if len(parts) == len(maker.input) else None
    if maker is None or maker.op_type != "Constant" or maker.attribute[0].name != "value":
        return None
    return array_of(maker.attribute[0].t)


def readers_in(graph: GraphProto, nodes: Sequence[NodeProto]) -> dict[str, list[NodeProto]]:
    """The nodes that read each value; one more for what the model returns, or what loops and branches read."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in filter(None, node.input):
            readers[name].append(node)
    inner = [one for one in all_graphs(graph) if one is not graph]
    names = {name for one in inner for node in one.node for name in node.input}
    for name in names | {value.name for one in (graph, *inner) for value in one.output}:
        readers[name].append(_ELSEWHERE)
    return readers
