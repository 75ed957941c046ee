"""What an adapter of one operator may ask of the model around it, and add to it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.light_copy import light_copy
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.traverse import all_graphs, unused_name, used_names


class NotExactError(Exception):
    """An operator has no exact form in the newer version; the message says why."""


class Rewrite:
    """One model in the making: constants are added to its main graph, which subgraphs see too."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._names = used_names(model)
        self._constants = {tensor.name: tensor for graph in all_graphs(model.graph) for tensor in graph.initializer}
        self._inputs = {value.name for value in model.graph.input}
        self._types: dict[str, ValueInfoProto] | None = None

    def name(self, wanted: str) -> str:
        """A name that nothing in the model has, much like the one that is wanted."""
        return unused_name(wanted, self._names)

    def add(self, name: str, value: Array) -> str:
        """Add a constant to the main graph; its name."""
        fresh = self.name(name)
        tensor = numpy_helper.from_array(np.asarray(value), fresh)
        self._model.graph.initializer.append(tensor)
        return fresh

    def constant(self, name: str) -> Array | None:
        """The value of an initializer that no caller can replace, or of a Constant node; None of anything else."""
        tensor = self._constants.get(name)
        if tensor is not None and name not in self._inputs:
            return array_of(tensor)
        for graph in all_graphs(self._model.graph):
            for node in graph.node:
                if node.op_type == "Constant" and list(node.output) == [name]:
                    value = attribute(node, "value")
                    return None if value is None else array_of(value)
        return None

    def element_type(self, name: str) -> int | None:
        """Element type of a value, as in TensorProto.DataType; None where it does not follow from the graph."""
        tensor = self._constants.get(name)
        if tensor is not None:
            return int(tensor.data_type)
        found = self._known().get(name)
        return (found.type.tensor_type.elem_type or None) if found is not None else None

    def rank(self, name: str) -> int | None:
        """Number of dimensions of a value; None where it does not follow from the graph."""
        found = self._known().get(name)
        if found is None or not found.type.tensor_type.HasField("shape"):
            return None
        return len(found.type.tensor_type.shape.dim)

    def _known(self) -> dict[str, ValueInfoProto]:
        if self._types is None:
            model = self._model
            # Where it fails, what the file itself says is all that is known.
            with suppress(onnx.shape_inference.InferenceError, ValueError, RuntimeError, TypeError):
                model = onnx.shape_inference.infer_shapes(light_copy(model))
            self._types = {
                value.name: value
                for graph in all_graphs(model.graph)
                for value in (*graph.value_info, *graph.output, *graph.input)
            }
        return self._types


Adapter = Callable[[NodeProto, Rewrite], list[NodeProto]]
"""The nodes that compute, in the newer version, what the node computes in the older one.

Raises:
    NotExactError: there are none.
"""


def changed(
    node: NodeProto,
    *,
    op_type: str = "",
    inputs: list[str] | None = None,
    outputs: list[str] | None = None,
    without: tuple[str, ...] = (),
    **attributes: Any,
) -> NodeProto:
    """A copy of a node: `without` some attributes, with others added or replaced."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.op_type = op_type or node.op_type
    if inputs is not None:
        copy.input[:] = inputs
    if outputs is not None:
        copy.output[:] = outputs
    kept = [one for one in node.attribute if one.name not in (*without, *attributes)]
    del copy.attribute[:]
    copy.attribute.extend(kept)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return copy
