"""Values that follow from constants alone, computed by ONNX Runtime one operator at a time, within bounds.

What is to be computed comes out of a file: only operators that compute the same whenever they run are, and of each the
size of what it makes is known before it runs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, OperatorSetIdProto, TensorProto, TypeProto, helper, numpy_helper

from lth_deploy.compiler.artifact.packed_weight import tensor_bytes
from lth_deploy.compiler.importing.light_copy import AS_VALUES
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.tensor_types import numpy_type
from lth_deploy.engine_messages import failure_of, log_severity
from lth_deploy.errors import ArtifactError

MAX_NODES = 20_000
"""Most operators that are computed for one model."""

MAX_PRODUCTS = 1 << 31
"""Most multiplications of one product of matrices."""

FREE_BYTES = 64 << 20
"""So much may always be made of nothing; beyond it, constants may grow four times."""


class NotFoldedError(Exception):
    """Why a value is not computed on import."""


class Evaluator:
    """Computes nodes on constants; keeps count of what it may still do."""

    def __init__(self, opsets: Sequence[OperatorSetIdProto], constant_bytes: int) -> None:
        self._opsets = [one for one in opsets if not one.domain]
        self._bytes = FREE_BYTES + 4 * constant_bytes
        self._nodes = MAX_NODES

    def run(self, node: NodeProto, constants: Mapping[str, TensorProto]) -> dict[str, TensorProto]:
        """All outputs of a node whose inputs are `constants`, by name.

        Raises:
            NotFoldedError: it may not be computed, or cannot.
        """
        if not traits_of(node.op_type).constant_folding or node.domain:
            raise NotFoldedError(f"{node.op_type} is not computed on import")
        self._nodes -= 1
        if self._nodes < 0:
            raise NotFoldedError(f"more than {MAX_NODES} operators would have to be computed")
        inputs = {name: constants[name] for name in node.input if name}
        native = self._check_size(node, inputs)
        compute = _by_onnxruntime if native else _by_reference
        try:
            return compute(self._model(node, inputs, as_inputs=False), [name for name in node.output if name])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise NotFoldedError(f"{node.op_type} fails on its constants: {failure_of(error)}") from error

    def _check_size(self, node: NodeProto, inputs: Mapping[str, TensorProto]) -> bool:
        """Count what the node will make; whether all of it has a type that ONNX Runtime hands out."""
        if node.op_type in ("MatMul", "Gemm"):
            first, second = (inputs[name].dims for name in node.input[:2])
            if math.prod(first) * max(second, default=1) > MAX_PRODUCTS:
                raise NotFoldedError("it is a product of too large matrices")
        try:
            # Without data propagation, which computes values of any size.
            model = onnx.shape_inference.infer_shapes(self._model(node, inputs, as_inputs=True), strict_mode=True)
        except Exception as error:  # shape inference raises errors of several kinds
            raise NotFoldedError(f"{node.op_type} does not fit its constants") from error
        made = sum(_size(value.type.tensor_type, node.op_type) for value in model.graph.output)
        if made > self._bytes:
            raise NotFoldedError("what is computed of the constants of the model is much larger than they are")
        self._bytes -= made
        kinds = {value.type.tensor_type.elem_type for value in model.graph.output}
        return all(numpy_type(kind).kind in "biuf" for kind in kinds)

    def _model(self, node: NodeProto, inputs: Mapping[str, TensorProto], *, as_inputs: bool) -> onnx.ModelProto:
        """A model of the node alone; as_inputs: whether large constants are only inputs of their type and shape."""
        shown = {name: one for name, one in inputs.items() if not as_inputs or tensor_bytes(one) <= AS_VALUES}
        graph = helper.make_graph(
            [node],
            "folded",
            [
                helper.make_tensor_value_info(name, one.data_type, list(one.dims))
                for name, one in inputs.items()
                if name not in shown
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
            [_renamed(one, name) for name, one in shown.items()],
        )
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=10)


def _size(kind: TypeProto.Tensor, operator: str) -> int:
    """Bytes of a tensor of an inferred type."""
    sizes = [dimension.dim_value if dimension.HasField("dim_value") else -1 for dimension in kind.shape.dim]
    if not kind.HasField("shape") or min(sizes, default=0) < 0 or not kind.elem_type:
        raise NotFoldedError(f"what {operator} makes has no size that is known before it is computed")
    return math.prod(sizes) * numpy_type(kind.elem_type).itemsize


def _renamed(tensor: TensorProto, name: str) -> TensorProto:
    if tensor.name == name:
        return tensor
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _by_onnxruntime(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, TensorProto]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return _tensors(names, session.run(list(names), {}))


def _by_reference(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, TensorProto]:
    """Of types that ONNX Runtime keeps to itself: bfloat16, float8, int4."""
    from onnx.reference import ReferenceEvaluator

    return _tensors(names, list(ReferenceEvaluator(model).run(list(names), {})))


def _tensors(names: Sequence[str], values: Sequence[Any]) -> dict[str, TensorProto]:
    return {name: numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)}


def bytes_of(tensors: Sequence[TensorProto]) -> int:
    """Of all of them.

    Raises:
        ArtifactError: a tensor has a type that has no size.
    """
    try:
        return sum(tensor_bytes(tensor) for tensor in tensors)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"a tensor of the model has an unknown type: {error}") from error
