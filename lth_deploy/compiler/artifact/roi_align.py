"""RoiAlign under a name of ours, which the kernel library knows; its function body is the standard operator."""

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN, DOMAIN_VERSION, ROI_ALIGN
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS, standard_opset
from lth_deploy.errors import ArtifactError

_FIRST_OPSET = 16
"""From here on the operator says how it places boxes."""

_DEFAULTS: Mapping[str, Any] = {
    "coordinate_transformation_mode": b"half_pixel",
    "mode": b"avg",
    "output_height": 1,
    "output_width": 1,
    "sampling_ratio": 0,
    "spatial_scale": 1.0,
}

MAX_BINS = 256
MAX_SAMPLES = 16
"""Limits of the kernel; with a sampling_ratio of 0 the samples of a bin follow from its size."""


def fast_roi_align(model: ModelProto) -> ModelProto:
    """A copy in which the kernel library computes every RoiAlign that it can; the model itself where there is none."""
    opset = standard_opset(model)
    if opset < _FIRST_OPSET or not any(_fits(node) for node in model.graph.node):
        return model
    floats = _float_tensors(model)
    fast = ModelProto()
    fast.CopyFrom(model)
    ours = [node for node in fast.graph.node if _fits(node) and set(node.input[:2]) <= floats]
    if not ours:
        return model
    for node in ours:
        attributes = _attributes(node)
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        node.domain = DOMAIN
    fast.functions.append(_function(opset))
    if not any(entry.domain == DOMAIN for entry in fast.opset_import):
        fast.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return fast


def has_roi_align(model: ModelProto) -> bool:
    """Whether the main graph holds a RoiAlign of ours."""
    return any(is_roi_align(node) for node in model.graph.node)


def standard_roi_align(model: ModelProto) -> ModelProto:
    """A copy with the standard operator in place of ours; the model itself without any."""
    if not has_roi_align(model):
        return model
    plain = ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if is_roi_align(node):
            node.domain = ""
    kept = [FunctionProto.FromString(one.SerializeToString()) for one in plain.functions if not _is_function(one)]
    del plain.functions[:]
    plain.functions.extend(kept)
    return plain


def check_roi_align(model: ModelProto) -> None:
    """Hold the RoiAlign nodes of a model to the rules, so that every runtime computes the same.

    Raises:
        ArtifactError: the rule that one breaks.
    """
    functions = [one for one in model.functions if _is_function(one)]
    if not functions and not has_roi_align(model):
        return
    expected = _function(standard_opset(model))
    if len(functions) != 1 or functions[0].SerializeToString() != expected.SerializeToString():
        raise ArtifactError(f"the function {ROI_ALIGN} is absent, twice there, or not the standard operator")
    for node in model.graph.node:
        if is_roi_align(node) and not (len(node.attribute) == len(_DEFAULTS) and _computed(node)):
            raise ArtifactError(
                f"node '{node.name}': the kernels do not compute this {ROI_ALIGN}; export the file again"
            )


def is_roi_align(node: NodeProto) -> bool:
    """Whether a node is a RoiAlign of ours."""
    return node.domain == DOMAIN and node.op_type == ROI_ALIGN


def _is_function(function: FunctionProto) -> bool:
    return function.domain == DOMAIN and function.name == ROI_ALIGN


def _fits(node: NodeProto) -> bool:
    return node.domain in STANDARD_DOMAINS and node.op_type == ROI_ALIGN and _computed(node)


def _computed(node: NodeProto) -> bool:
    """Whether the kernel computes a node of these attributes."""
    said = _attributes(node)
    if any(type(said[name]) is not type(default) for name, default in _DEFAULTS.items()):
        return False
    return (
        said["mode"] == b"avg"
        and said["coordinate_transformation_mode"] in (b"half_pixel", b"output_half_pixel")
        and all(1 <= said[name] <= MAX_BINS for name in ("output_height", "output_width"))
        and 0 <= said["sampling_ratio"] <= MAX_SAMPLES
        and 0 < said["spatial_scale"] < float("inf")
    )


def _attributes(node: NodeProto) -> dict[str, Any]:
    said = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return {name: said.get(name, default) for name, default in _DEFAULTS.items()}


def _function(opset: int) -> FunctionProto:
    node = helper.make_node(ROI_ALIGN, ["pictures", "boxes", "images"], ["pooled"])
    for name, default in _DEFAULTS.items():
        attribute = helper.make_attribute(name, default)
        reference = onnx.AttributeProto(name=name, ref_attr_name=name, type=attribute.type)
        node.attribute.append(reference)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(DOMAIN, ROI_ALIGN, node.input, node.output, [node], opsets, list(_DEFAULTS))


def _float_tensors(model: ModelProto) -> set[str]:
    """Names of the tensors that are known to be float32."""
    try:
        known = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return set()
    values = [*known.value_info, *known.input, *known.output]
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in known.initializer if tensor.data_type == TensorProto.FLOAT}
