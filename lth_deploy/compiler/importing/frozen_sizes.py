"""Fixing the sizes of inputs that a model leaves open, and naming the node that does not take them."""

import re

from onnx import ModelProto, ValueInfoProto

from lth_deploy.compiler.importing.plain.inferred import infer
from lth_deploy.compiler.importing.plain.values import fold_values
from lth_deploy.compiler.model.input_sizes import Sizes, check_given, declared_inputs
from lth_deploy.engine_messages import EngineFailure

_AT = (re.compile(r"running (?P<op>\w+) node\. Name:'(?P<name>[^']+)'"), re.compile(r"Node \((?P<name>[^)]+)\) Op \("))
"""How ONNX Runtime names the node at which it stops, when it runs and when it loads a model."""


def with_sizes(model: ModelProto, sizes: Sizes) -> ModelProto:
    """A copy whose inputs have these sizes; the model itself without any.

    What the file says of the sizes of other values is dropped.

    Raises:
        UsageError: a shape is of no input, or does not fit what is declared, see `check_given`.
    """
    if not sizes:
        return model
    check_given(declared_inputs(model), sizes)
    frozen = ModelProto()
    frozen.CopyFrom(model)
    for value in frozen.graph.input:
        if value.name in sizes:
            _set(value, sizes[value.name])
    del frozen.graph.value_info[:]
    return frozen


def _set(value: ValueInfoProto, sizes: tuple[int, ...]) -> None:
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for size in sizes:
        shape.dim.add(dim_value=size)


def refusal(model: ModelProto, sizes: Sizes, failure: EngineFailure) -> EngineFailure:
    """Why a model does not run with these sizes: the node at which ONNX Runtime stops, and the shapes that meet there.

    failure: of ONNX Runtime, which is returned as it is where the node or its shapes are not known.
    """
    found = next((match for pattern in _AT if (match := pattern.search(failure.text)) is not None), None)
    if found is None:
        return failure
    sized = ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        if value.name in sizes:
            _set(value, sizes[value.name])
    fold_values(sized)
    dims = infer(sized).dims
    # A fused node is called after one of those that it was made of.
    nodes = [one for one in sized.graph.node if one.name and found["name"].startswith(one.name)]
    if not nodes:
        return failure
    node = max(nodes, key=lambda one: len(one.name))
    shapes = [dims[name] for name in node.input if len(dims.get(name, ())) > 1]
    texts = ["x".join("?" if size is None else str(size) for size in shape) for shape in shapes]
    if not texts:
        return failure
    reason = f"node '{node.name}' ({node.op_type}) does not take {' and '.join(texts)}"
    return EngineFailure(reason, failure.text)
