"""How the weights of a model are stored: in full, in half precision behind a Cast, or packed."""

import math
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.domain import DOMAIN, coding_of, operator_of, position_input
from lth_deploy.compiler.model.opset import STANDARD_DOMAINS
from lth_deploy.compiler.model.tensor_types import numpy_type, type_name
from lth_deploy.element_types import HALF_TYPES
from lth_deploy.errors import ArtifactError
from lth_deploy.formats import FORMATS


@dataclass(frozen=True)
class StoredWeight:
    """One constant tensor of the main graph that nodes may use as a weight.

    name: what the users of the weight call it. coding: a name in FORMATS. tensors: the arrays of that
    coding by input name. node: what makes the weight of them; None for a plain initializer.
    """

    name: str
    coding: str
    shape: tuple[int, ...]
    tensors: dict[str, TensorProto]
    node: NodeProto | None = None

    @property
    def value_type(self) -> int:
        """Element type of the stored values, as in TensorProto.DataType."""
        return int(self.tensors["values"].data_type)

    @property
    def int8(self) -> bool:
        """Whether the weights are quantized: they reach their layer through a DequantizeLinear."""
        return self.value_type == TensorProto.INT8

    @property
    def type_name(self) -> str:
        """`float`, `int8` and so on, as ONNX calls the type of the stored values."""
        return type_name(self.value_type)

    @property
    def operator(self) -> str:
        """The operator of our domain that decodes it."""
        return operator_of(self.coding, self.int8)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, without names and headers."""
        return sum(tensor_bytes(tensor) for tensor in self.tensors.values())

    def weights(self) -> Array:
        """The tensor in full, in its stored value type.

        Raises:
            ArtifactError: the arrays break a rule of the coding, or the tensor is damaged.
        """
        try:
            if self.coding == "dense":
                return array_of(self.tensors["values"])
            arrays = {name: array_of(tensor) for name, tensor in self.tensors.items()}
            return FORMATS.get(self.coding).decode(arrays, self.shape)
        except ArtifactError as error:
            raise ArtifactError(f"weight '{self.name}': {error}; export the file again") from error


def stored_weights(model: ModelProto) -> dict[str, StoredWeight]:
    """All constant tensors of the main graph by the name their users see.

    Raises:
        ArtifactError: a node of our domain is malformed.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {
        name: StoredWeight(name, "dense", tuple(tensor.dims), {"values": tensor}) for name, tensor in tensors.items()
    }
    for node in model.graph.node:
        if node.domain == DOMAIN:
            weight = _unpacked_by(node, tensors)
        elif is_widening(node, tensors):
            source = tensors[node.input[0]]
            weight = StoredWeight(node.output[0], "dense", tuple(source.dims), {"values": source}, node)
        else:
            continue
        for tensor in weight.tensors.values():
            found.pop(tensor.name, None)
        found[weight.name] = weight
    return found


def is_widening(node: NodeProto, tensors: dict[str, TensorProto]) -> bool:
    """Whether a node is a Cast of an initializer of half precision to float32."""
    if node.op_type != "Cast" or node.domain not in STANDARD_DOMAINS or node.input[0] not in tensors:
        return False
    target = next((a.i for a in node.attribute if a.name == "to"), None)
    return target == TensorProto.FLOAT and tensors[node.input[0]].data_type in HALF_TYPES


def array_of(tensor: TensorProto) -> Array:
    """The tensor as a numpy array.

    Raises:
        ArtifactError: its data is in another file, or does not fit its type and shape.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ArtifactError(f"tensor '{tensor.name}' keeps its data in another file; save the model as one")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ArtifactError(f"tensor '{tensor.name}' is damaged: {error}") from error


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes of the elements of a tensor as raw data."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    item = numpy_type(tensor.data_type).itemsize
    return int(math.prod(tensor.dims) * item)


def _unpacked_by(node: NodeProto, tensors: dict[str, TensorProto]) -> StoredWeight:
    found = coding_of(node.op_type)
    if found is None:
        raise ArtifactError(f"node '{node.name}' has the unknown operator {DOMAIN}.{node.op_type}")
    coding, int8 = found
    if len(node.input) != 2 or len(node.output) != 1 or not node.output[0]:
        raise ArtifactError(f"node '{node.name}' ({node.op_type}) needs two inputs and one output")
    if any(name not in tensors for name in node.input):
        raise ArtifactError(f"node '{node.name}': the inputs {list(node.input)} must both be initializers")
    shapes = [a for a in node.attribute if a.name == "shape" and a.type == AttributeProto.INTS]
    if len(node.attribute) != 1 or len(shapes) != 1 or shapes[0].ref_attr_name:
        raise ArtifactError(f"node '{node.name}' ({node.op_type}) needs exactly the attribute 'shape'")
    positions, values = (tensors[name] for name in node.input)
    if (values.data_type == TensorProto.INT8) != int8:
        kind = type_name(values.data_type)
        raise ArtifactError(f"node '{node.name}' ({node.op_type}) has values of the type {kind}")
    arrays = {position_input(coding): positions, "values": values}
    return StoredWeight(node.output[0], coding, tuple(shapes[0].ints), arrays, node)
