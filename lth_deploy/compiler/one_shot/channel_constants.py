"""Constants that lose channels, while others may read what they were."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from onnx import ModelProto, NodeProto

from lth_deploy.compiler.artifact.value_types import set_weights
from lth_deploy.compiler.model.normalized_model import tensor_of
from lth_deploy.compiler.model.traverse import consumed_names, unused_name, used_names


class Constants:
    """Initializers that change, and new ones in the place of those that others read too, and of nodes."""

    def __init__(self, model: ModelProto, readers: Mapping[str, Sequence[NodeProto]]) -> None:
        self._model, self._readers, self._names = model, readers, used_names(model)
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._replaced: set[str] = set()

    def put(self, name: str, values: npt.NDArray[Any]) -> str:
        """The name under which one reader of the constant `name` finds these values."""
        if name in self._stored and len(self._readers[name]) == 1:
            set_weights(self._stored[name], values)
            return name
        own = unused_name(name, self._names)
        self._model.graph.initializer.append(tensor_of(values, own))
        self._replaced.add(name)
        return own

    def drop_unread(self) -> None:
        """Take out the initializers that nothing reads any more."""
        tensors, unread = self._model.graph.initializer, self._replaced - consumed_names(self._model)
        for place in reversed(range(len(tensors))):
            if tensors[place].name in unread:
                del tensors[place]
