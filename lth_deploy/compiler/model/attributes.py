"""Attributes of ONNX nodes as Python values."""

from typing import Any

from onnx import NodeProto, helper


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute of a node as a Python value, text for bytes; `default` where the node has none of this name."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default
