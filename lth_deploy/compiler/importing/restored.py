"""Putting new weights into the model that a user gave: what an artifact is to compute, said in the user's own graph."""

from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.artifact.half_weights import speaks_half
from lth_deploy.compiler.artifact.packed_weight import array_of
from lth_deploy.compiler.importing.frozen_inputs import CONSTANTS_SINCE
from lth_deploy.compiler.importing.functions import inline_functions
from lth_deploy.compiler.importing.hoisted import hoist_constants
from lth_deploy.compiler.importing.imported import ImportedModel
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.tensor_types import numpy_type
from lth_deploy.compiler.model.traverse import unused_name, used_names
from lth_deploy.errors import ArtifactError


def changed_weights(imported: ImportedModel, model: NormalizedModel) -> dict[str, Array]:
    """The initializers of `model`, made from the normalized one, that have other values than there."""
    before = {tensor.name: tensor for tensor in imported.normalized.proto.graph.initializer}
    changed = {}
    for tensor in model.proto.graph.initializer:
        if tensor.name in before and not _equal(tensor, before[tensor.name]):
            changed[tensor.name] = array_of(tensor)
    return changed


def original_with_weights(imported: ImportedModel, weights: Mapping[str, Array]) -> ModelProto:
    """The original with other values for some initializers of the normalized model; the original itself without any.

    An initializer of the original is replaced; where a value was computed from constants, an initializer takes the
    place of the node that made it.

    Raises:
        ArtifactError: the original has no value of that name, or one of another shape.
    """
    if not weights:
        return imported.original
    model = ModelProto()
    model.CopyFrom(imported.original)
    weights, biases = _of_original(imported, weights)
    # Each of these gives names to values that have none in the main graph before; the first that are needed are taken.
    steps: list[Callable[[ModelProto], ModelProto]] = [_unpacked, _inlined, _hoisted]
    wanted = {*weights, *biases}
    while steps and not wanted <= _names(model):
        model = steps.pop(0)(model)
    lost = sorted(wanted - _names(model))
    if lost:
        raise ArtifactError(
            f"the model as it was given has no value '{lost[0]}' to put weights in; please report this model"
        )
    _put(model, weights)
    _put_biases(model, biases)
    return model


def _of_original(imported: ImportedModel, weights: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The same weights as what surrounds the layers in the original wants them; biases by what their layer makes."""
    before = {tensor.name: tensor for tensor in imported.normalized.proto.graph.initializer}
    put, biases = dict(weights), dict[str, Array]()
    for layer in imported.layers:
        names = {layer.weight, layer.bias} - {None}
        if names.isdisjoint(weights):
            continue
        weight, bias = (
            None if name is None else weights[name] if name in weights else array_of(before[name])
            for name in (layer.weight, layer.bias)
        )
        assert weight is not None
        put[layer.weight] = layer.original_weight(weight)
        if bias is not None:
            biases[layer.output] = layer.original_bias(weight, bias)
    folded = {layer.bias for layer in imported.layers}
    return {name: value for name, value in put.items() if name not in folded}, biases


def _equal(first: TensorProto, second: TensorProto) -> bool:
    if first.data_type == second.data_type and first.dims == second.dims and first.raw_data == second.raw_data != b"":
        return True
    a, b = array_of(first), array_of(second)
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b))


def _unpacked(model: ModelProto) -> ModelProto:
    return unpack_model(model) if any(entry.domain == DOMAIN for entry in model.opset_import) else model


def _inlined(model: ModelProto) -> ModelProto:
    return inline_functions(model)[0]


def _hoisted(model: ModelProto) -> ModelProto:
    hoist_constants(model)
    return model


def _names(model: ModelProto) -> set[str]:
    """Constants of the main graph, and what its nodes put out."""
    graph = model.graph
    names = {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    return names | {name for node in graph.node for name in node.output if name}


def _put(model: ModelProto, weights: Mapping[str, Array]) -> None:
    graph, names = model.graph, used_names(model)
    for tensor in graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(_tensor(tensor.name, weights[tensor.name], tensor))
    stored = {tensor.name for tensor in graph.initializer}
    sparse = [one for one in graph.sparse_initializer if one.values.name not in weights]
    del graph.sparse_initializer[:]
    graph.sparse_initializer.extend(sparse)
    nodes = []
    for node in graph.node:
        # Of a node that makes nothing else nothing is left.
        if not any(name in weights for name in node.output):
            nodes.append(node)
        elif not all(name in weights or not name for name in node.output):
            outputs = [unused_name(f"{name}.before", names) if name in weights else name for name in node.output]
            other = NodeProto()
            other.CopyFrom(node)
            other.output[:] = outputs
            nodes.append(other)
    kinds = _element_types(model, set(weights) - stored)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    for name in weights:
        if name not in stored:
            tensor = _tensor(name, _as_type(weights[name], kinds.get(name)), None)
            graph.initializer.append(tensor)
            if model.ir_version < CONSTANTS_SINCE:
                graph.input.append(_input(tensor))


def _put_biases(model: ModelProto, biases: Mapping[str, Array]) -> None:
    """Let layers add these, by the name of what each makes."""
    names = used_names(model)
    for node in model.graph.node:
        if node.output and node.output[0] in biases:
            name = unused_name(f"{node.output[0]}.bias", names)
            kind = next((one.data_type for one in model.graph.initializer if one.name == node.input[1]), 0)
            tensor = numpy_helper.from_array(_as_type(biases[node.output[0]], kind), name)
            model.graph.initializer.append(tensor)
            if model.ir_version < CONSTANTS_SINCE:
                model.graph.input.append(_input(tensor))
            node.input[:] = [*node.input[:2], name]


def _tensor(name: str, value: Array, before: TensorProto | None) -> TensorProto:
    """A tensor of the type that the one before has: what is normalized may be wider."""
    if before is not None:
        if tuple(before.dims) != value.shape:
            raise ArtifactError(f"'{name}' has the shape {list(before.dims)} in the model, not {list(value.shape)}")
        value = value.astype(numpy_type(before.data_type))
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def _element_types(model: ModelProto, names: set[str]) -> dict[str, int]:
    """Types of values that nodes make, as far as they are known; only floats of a model of half precision need them."""
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "Constant" and node.output[0] in names}
    kinds = {name: one.t.data_type for name, node in made.items() for one in node.attribute if one.name == "value"}
    if names - kinds.keys() and speaks_half(model):
        inferred = infer_shapes(model).graph
        kinds |= {v.name: v.type.tensor_type.elem_type for v in inferred.value_info if v.name in names - kinds.keys()}
    return kinds


def _as_type(value: Array, kind: int | None) -> Array:
    return value if not kind else value.astype(numpy_type(kind))


def _input(tensor: TensorProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
