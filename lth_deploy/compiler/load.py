"""Reading ONNX files that may come from anyone."""

from pathlib import Path

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, SparseTensorProto, TensorProto

from lth_deploy.compiler.domain import (
    DOMAIN,
    DOMAIN_VERSION,
    METADATA_KEY,
    MIN_IR_VERSION,
    MIN_OPSET,
    REGION_NAMES,
)
from lth_deploy.compiler.opset import standard_opset
from lth_deploy.compiler.prepare import MAX_DENSE_BYTES
from lth_deploy.compiler.regions.check import check_regions
from lth_deploy.compiler.regions.expand import expand_regions, has_regions
from lth_deploy.compiler.roi_align import check_roi_align, has_roi_align
from lth_deploy.compiler.save import MAX_FILE_BYTES
from lth_deploy.compiler.stored import stored_weights
from lth_deploy.compiler.walk import all_graphs
from lth_deploy.errors import ArtifactError, DataError

MAX_NODES = 1_000_000


def load_model(path: Path) -> ModelProto:
    """Read and check an ONNX file that may come from anyone.

    Nothing outside the file is opened, and every packed weight is decoded once to see that it is sound.

    Raises:
        DataError: the file is missing or unreadable.
        ArtifactError: it is too large, no ONNX model, invalid, or refers to other files.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ArtifactError(f"{path} has {size} bytes, an ONNX file has at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, without depending on protobuf's own package
        raise ArtifactError(f"{path} is no ONNX model: {error}") from error
    try:
        check_model(model)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return model


def check_model(model: ModelProto) -> None:
    """Hold a model to the rules of ONNX and of our domain; every packed weight is decoded once.

    Raises:
        ArtifactError: the rule that it breaks.
    """
    if not model.graph.node:
        raise ArtifactError("the model has no nodes; it is empty or no ONNX file")
    standard_opset(model)
    _refuse_external_data(model)
    _refuse_odd_functions(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, TypeError) as error:
        raise ArtifactError(f"not a valid ONNX model: {str(error).splitlines()[0][:500]}") from error
    _check_packed(expand_regions(model))
    if has_regions(model) or has_roi_align(model):
        _check_versions(model)
    check_regions(model)
    check_roi_align(model)


def _check_versions(model: ModelProto) -> None:
    ours = [entry.version for entry in model.opset_import if entry.domain == DOMAIN]
    if ours != [DOMAIN_VERSION]:
        raise ArtifactError(f"the file has version {ours} of {DOMAIN}, this is {DOMAIN_VERSION}; update lth-deploy")
    if model.ir_version < MIN_IR_VERSION or standard_opset(model) < MIN_OPSET:
        raise ArtifactError(
            f"a packed file has IR version {MIN_IR_VERSION} and opset {MIN_OPSET} or later, found "
            f"{model.ir_version} and {standard_opset(model)}; export it again"
        )


def _check_packed(model: ModelProto) -> None:
    packed = [weight for weight in stored_weights(model).values() if weight.coding != "dense"]
    if not packed:
        return
    _check_versions(model)
    bodies = {function.name for function in model.functions if function.domain == DOMAIN}
    declared = 0
    for weight in packed:
        if weight.operator not in bodies:
            raise ArtifactError(f"weight '{weight.name}' needs the function {weight.operator}: absent")
        size = 4
        for dimension in weight.shape:
            size *= max(dimension, 0)
        declared += size
    # Before anything is decoded: a few bytes of escapes may claim any number of zeros.
    if declared > MAX_DENSE_BYTES:
        raise ArtifactError(f"the packed weights claim {declared} bytes, at most {MAX_DENSE_BYTES} are allowed")
    for weight in packed:
        weight.weights()


def _refuse_external_data(model: ModelProto) -> None:
    for graph in all_graphs(model.graph):
        _refuse_in_graph(graph)
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                _refuse_tensors([attribute.t, *attribute.tensors], [attribute.sparse_tensor])


def _refuse_in_graph(graph: GraphProto) -> None:
    if len(graph.node) > MAX_NODES:
        raise ArtifactError(f"a graph has {len(graph.node)} nodes, at most {MAX_NODES} are allowed")
    _refuse_tensors(graph.initializer, graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            _refuse_tensors([attribute.t, *attribute.tensors], sparse)


def _refuse_tensors(tensors: "list[TensorProto]", sparse: "list[SparseTensorProto]") -> None:
    for tensor in (*tensors, *(t for s in sparse for t in (s.values, s.indices))):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ArtifactError(
                f"tensor '{tensor.name}' keeps its data in another file, which is refused; save the model as one file"
            )


def _refuse_odd_functions(model: ModelProto) -> None:
    """Function bodies of our domain must be plain standard operators: no nesting, no recursion."""
    for function in model.functions:
        if function.domain == DOMAIN and function.name not in REGION_NAMES:
            _refuse_odd_body(function)
    if sum(1 for entry in model.metadata_props if entry.key == METADATA_KEY) > 1:
        raise ArtifactError(f"the metadata entry '{METADATA_KEY}' appears twice")


def _refuse_odd_body(function: FunctionProto) -> None:
    for node in function.node:
        if node.domain not in ("", "ai.onnx"):
            raise ArtifactError(f"function {function.name} calls {node.domain}.{node.op_type}: not standard")
