"""Split along the axis of the channels: each output has the channels of a part of the input."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from onnx import NodeProto

from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.one_shot.channel_places import Place
from lth_deploy.compiler.one_shot.channel_rules import Makers, Tensors, constant


def split_sizes(node: NodeProto, place: Place, channels: int, makers: Makers, tensors: Tensors) -> list[int] | None:
    """How many channels each output of a Split has; None where it splits something else, or what is not known."""
    if node.domain or node.op_type != "Split" or not place.is_axis(attribute(node, "axis", 0)):
        return None
    count = len(node.output)
    if len(node.input) > 1 and node.input[1]:
        known = constant(node.input[1], makers, tensors)
        sizes = None if known is None else [int(size) for size in np.ravel(known)]
    else:
        # Only the last part may be smaller (Split-18).
        size = -(-channels // count)
        sizes = [size] * (count - 1) + [channels - size * (count - 1)]
    if sizes is None or len(sizes) != count or min(sizes) < 1 or sum(sizes) != channels or not all(node.output):
        return None
    return sizes


def set_split_sizes(node: NodeProto, name: str) -> None:
    """Let a Split take its sizes from the tensor of this name."""
    kept = [one for one in node.attribute if one.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)
    data = node.input[0]
    del node.input[:]
    node.input.extend([data, name])


def ends_of(sizes: Sequence[int]) -> list[int]:
    """Where each part but the last ends."""
    return list(accumulate(sizes))[:-1]
