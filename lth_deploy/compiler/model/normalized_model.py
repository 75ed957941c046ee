"""The one form of a model that all passes take and return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from lth_deploy.arrays import Array


@dataclass(frozen=True, slots=True)
class NormalizedModel:
    """A model that import has normalized. Only `importing.normalize` makes one of any other model.

    A pass may rely on this of `proto`:

    - It is one piece: no external data, no sparse initializers, no functions but those whose operators have another
      meaning in the model's opset.
    - Nothing is packed, and there are no regions, unless the caller of `normalize` kept them to look at them.
    - Weights of layers are dense initializers of the main graph, also those that the file had in branches, in Constant
      nodes, behind operators on constants, or in half precision, which is widened to float32.
    - Standard operators have opset 13 or later and the domain "", and the file format knows functions.
    - Each parameter of a layer has the name that its value has in the file of the user.

    Nobody changes `proto` in place: `edited` and `with_tensors` make another model. What a pass makes has the same
    guarantees; what has not, such as a packed file or a QDQ graph of ONNX Runtime, is a plain `ModelProto`.
    """

    proto: ModelProto

    def edited(self, edit: Callable[[ModelProto], None]) -> "NormalizedModel":
        """A copy that `edit` has changed in place; the change keeps the guarantees."""
        copy = ModelProto()
        copy.CopyFrom(self.proto)
        edit(copy)
        return NormalizedModel(copy)

    def with_tensors(self, tensors: Mapping[str, Array]) -> "NormalizedModel":
        """A copy in which initializers of these names hold these arrays. The replaced ones are not copied."""
        copy = without_initializers(self.proto)
        for tensor in self.proto.graph.initializer:
            if tensor.name in tensors:
                copy.graph.initializer.append(tensor_of(tensors[tensor.name], tensor.name))
            else:
                copy.graph.initializer.append(tensor)
        return NormalizedModel(copy)


def tensor_of(array: Array, name: str) -> TensorProto:
    """An initializer that holds an array."""
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def without_initializers(model: ModelProto) -> ModelProto:
    """A copy of all but the initializers of the main graph, which are nearly all bytes of a model."""
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy_field(copy, field.name, value)
    copy.graph.SetInParent()
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy_field(copy.graph, field.name, value)
    return copy


def _copy_field(message: object, name: str, value: object) -> None:
    own = getattr(message, name)
    if hasattr(own, "extend"):
        own.extend(value)
    elif hasattr(own, "CopyFrom"):
        own.CopyFrom(value)
    else:
        setattr(message, name, value)
