"""How operators of opsets 7 to 12 are written in opset 13, each so that it computes the same."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from lth_deploy.compiler.importing.rewrite import Adapter, NotExactError, Rewrite, changed
from lth_deploy.compiler.model.attributes import attribute
from lth_deploy.compiler.model.tensor_types import numpy_type

_LOWEST, _HIGHEST = (float(bound) for bound in (np.finfo(np.float32).min, np.finfo(np.float32).max))
"""Bounds of a Clip of opset 6 that names none: it clips infinities too."""


def same(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Of operators that only took more types, or attributes whose defaults are what they did before."""
    return [node]


def attribute_to_input(name: str, *, place: int = 1) -> Adapter:
    """Of operators of which an attribute of integers became an input."""

    def adapt(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
        value = attribute(node, name)
        if value is None:
            return [node]
        inputs = [*node.input[:place], *[""] * (place - len(node.input))]
        inputs.append(rewrite.add(f"{node.output[0]}.{name}", np.atleast_1d(np.asarray(value, np.int64))))
        return [changed(node, inputs=inputs, without=(name,))]

    return adapt


def clip(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Clip 6 to 11: bounds become inputs, and there always are some."""
    dtype = _dtype(node.input[0], rewrite)
    bounds = {"min": attribute(node, "min", _LOWEST), "max": attribute(node, "max", _HIGHEST)}
    with np.errstate(over="ignore"):
        inputs = [rewrite.add(f"{node.output[0]}.{name}", np.asarray(at, dtype)) for name, at in bounds.items()]
    return [changed(node, inputs=[node.input[0], *inputs], without=("min", "max"))]


def pad(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Pad 2 to 11: the widths and the value become inputs."""
    pads = np.asarray(attribute(node, "pads", []), np.int64)
    inputs = [node.input[0], rewrite.add(f"{node.output[0]}.pads", pads)]
    if attribute(node, "mode", "constant") == "constant":
        value = np.asarray(attribute(node, "value", 0.0), _dtype(node.input[0], rewrite))
        inputs.append(rewrite.add(f"{node.output[0]}.value", value))
    return [changed(node, inputs=inputs, without=("pads", "value"))]


def slicing(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Slice 1 to 10: bounds and axes become inputs."""
    found: dict[str, Any] = {name: attribute(node, name) for name in ("starts", "ends", "axes")}
    inputs = [
        rewrite.add(f"{node.output[0]}.{name}", np.asarray(value, np.int64))
        for name, value in found.items()
        if value is not None
    ]
    return [changed(node, inputs=[node.input[0], *inputs], without=tuple(found))]


def dropout_7(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Dropout 7 to 10: the mask, which inference never needs, has another type since."""
    if len(node.output) > 1 and node.output[1]:
        raise NotExactError("its mask has another type in newer versions")
    return [node]


def dropout_10(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Dropout 10 to 12: it drops nothing in inference, whatever its ratio."""
    return [changed(node, without=("ratio",))]


def batch_norm_7(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """BatchNormalization 7 to 9: statistics of each position, `spatial` 0, are gone."""
    if not attribute(node, "spatial", 1):
        raise NotExactError("statistics of each position (spatial 0) are not in newer versions")
    return [changed(node, without=("spatial",))]


def scatter(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Scatter 9 to 11: another name."""
    return [changed(node, op_type="ScatterElements")]


def scan_8(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Scan 8 loops over batches as well."""
    raise NotExactError("its loop over the batch is not in newer versions")


def softmax(node: NodeProto, rewrite: Rewrite) -> list[NodeProto]:
    """Softmax, LogSoftmax and Hardmax 11 to 13: before, all axes from `axis` on were one."""
    axis = int(attribute(node, "axis", 1))
    rank = rewrite.rank(node.input[0])
    if axis == -1 or (rank is not None and axis == rank - 1):
        return [changed(node, axis=-1)]
    output = node.output[0]
    shape, rows, done = (rewrite.name(f"{output}.{part}") for part in ("shape", "rows", "done"))
    return [
        helper.make_node("Shape", [node.input[0]], [shape]),
        helper.make_node("Flatten", [node.input[0]], [rows], axis=axis),
        changed(node, inputs=[rows], outputs=[done], axis=-1),
        helper.make_node("Reshape", [done, shape], [output]),
    ]


def _dtype(name: str, rewrite: Rewrite) -> np.dtype[Any]:
    element = rewrite.element_type(name) or TensorProto.FLOAT
    return numpy_type(element)
