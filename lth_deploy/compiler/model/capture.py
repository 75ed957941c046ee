"""The only place that calls torch's ONNX exporter."""

import copy
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from lth_deploy.errors import UsageError

OPSET = 18
# `ExportableDetector` holds the detector under this name; it means nothing to a reader of the file.
WRAPPER = "model."
TURNED = ":turned"
"""Ends the name of a linear layer's weight that a graph holds transposed."""


@dataclass(frozen=True)
class TracedNames:
    """Names of the input and outputs of a graph. axes: by name, those whose sizes stay open, and what they count."""

    input: str
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, str]]


def capture(
    module: nn.Module, sample: npt.NDArray[Any], opset: int = OPSET, names: TracedNames | None = None
) -> onnx.ModelProto:
    """Trace a detector into one ONNX graph that takes images of every size, or inputs as `names` has them.

    module: an `ExportableDetector`, best with normalization folded; it is copied, never changed. sample:
    an image uint8 [H, W, 3], or with `names` what its input takes; tracing runs it, and its content leaves no mark on
    the graph. Initializers carry the names of the detector's parameters, but for scale and shift of group norm, which
    the exporter reshapes.

    Raises:
        UsageError: the sample is not an image, or the detector does something that cannot be traced.
        onnx.checker.ValidationError: the exporter wrote an invalid graph.
    """
    if names is None and (sample.ndim != 3 or sample.shape[2] != 3 or sample.dtype != np.uint8):
        raise UsageError(
            f"capture: the sample is {sample.dtype} {sample.shape}; give an image, uint8 [height, width, 3]"
        )
    copied = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    named = _of_images(cast(Any, module).output_names) if names is None else names
    try:
        exported = _export(copied, torch.from_numpy(sample.copy()), opset, named, names is None)
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"the detector cannot be exported to ONNX: {type(error).__name__}: {first}; every operation between its "
            "input and its answer must be one that torch.onnx.export can trace",
            detail=str(error),
        ) from error
    model = onnx.load_model_from_string(exported)
    _drop_initializer_inputs(model.graph)
    if names is not None:
        shared = _first_names(copied)
        for tensor in model.graph.initializer:
            tensor.name = shared.get(tensor.name, tensor.name)
        _rename_inputs(model.graph, shared)
    _rename_initializers(model)
    if names is not None:
        _in_single_precision(model.graph)
        _name_turned_weights(model.graph)
    onnx.checker.check_model(model)
    return model


def _export(module: nn.Module, value: torch.Tensor, opset: int, names: TracedNames, whole: bool) -> bytes:
    buffer = io.BytesIO()
    # The exporter warns of every shape that Python sees and of its own age; that the graph takes other sizes
    # and computes the same is held by tests and by the parity gate of every export.
    with warnings.catch_warnings(), torch.no_grad(), _repaired_operators(opset):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (value,),
            cast(Any, buffer),  # a stream is accepted, the annotation names only paths
            # The exporter through torch.export cannot trace non-maximum suppression as of torch 2.15.
            dynamo=False,
            opset_version=opset,
            input_names=[names.input],
            output_names=list(names.outputs),
            dynamic_axes={name: dict(axes) for name, axes in names.axes.items()},
            # Otherwise parameters of equal values, say zero biases, are merged and lose their names.
            keep_initializers_as_inputs=True,
            # Weights of linear layers would be stored turned, under names of the exporter's.
            do_constant_folding=whole,
        )
    return buffer.getvalue()


@contextmanager
def _repaired_operators(opset: int) -> Iterator[None]:
    """In the body, the exporter writes operators that it gets wrong for some sizes as they stand here."""
    exporter: Any = torch.onnx  # its annotations leave out both functions
    exporter.register_custom_op_symbolic("aten::linspace", _linspace, opset)
    try:
        yield
    finally:
        exporter.unregister_custom_op_symbolic("aten::linspace", opset)


def _linspace(g: Any, start: Any, end: Any, steps: Any, *_: Any) -> Any:
    """`torch.linspace` in float32; the exporter divides by `steps - 1` even where that is zero, and gets NaN.

    Sizes of feature maps are steps in deformable attention, and a map may have one row.
    """
    zero, one = (g.op("Constant", value_t=torch.tensor(number)) for number in (0, 1))
    intervals = g.op("Max", g.op("Sub", steps, one), one)
    first, last, count = (g.op("Cast", value, to_i=onnx.TensorProto.FLOAT) for value in (start, end, intervals))
    numbers = g.op("Cast", g.op("Range", zero, steps, one), to_i=onnx.TensorProto.FLOAT)
    step = g.op("Div", g.op("Sub", last, first), count)
    return g.op("Add", g.op("Mul", numbers, step), first)


def _of_images(outputs: tuple[str, ...]) -> TracedNames:
    axes: dict[str, dict[int, str]] = {name: {0: "objects"} for name in outputs}
    if "masks" in axes:
        axes["masks"] |= {1: "height", 2: "width"}
    return TracedNames("image", outputs, {"image": {0: "height", 1: "width"}, **axes})


def _drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Make parameters constants again; as inputs they would keep runtimes from optimizing."""
    parameters = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in parameters]
    del graph.input[:]
    graph.input.extend(kept)


def _name_turned_weights(graph: onnx.GraphProto) -> None:
    """Name what transposes the weight of a linear layer after that weight, so that its layer stays known."""
    stored = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    names: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in stored:
            name = f"{node.input[0]}{TURNED}"
            is_again = name in names.values()  # of a layer that runs several times
            names[node.output[0]] = name
            node.output[0] = name
            if is_again:
                continue
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    _rename_inputs(graph, names)


def _first_names(module: nn.Module) -> dict[str, str]:
    """The first name of each parameter that several modules share, by the others."""
    first: dict[int, str] = {}
    named = module.named_parameters(remove_duplicate=False)
    return {name: first[id(value)] for name, value in named if first.setdefault(id(value), name) != name}


def _in_single_precision(graph: onnx.GraphProto) -> None:
    """Compute in float32 what the exporter computes in double precision: shares of sizes, which are integers."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.DOUBLE:
                attribute.i = onnx.TensorProto.FLOAT
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == onnx.TensorProto.DOUBLE:
                attribute.t.CopyFrom(_single(attribute.t))
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _in_single_precision(attribute.g)
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.DOUBLE:
            tensor.CopyFrom(_single(tensor))
    del graph.value_info[:]


def _single(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _rename_initializers(model: onnx.ModelProto) -> None:
    """Take the wrapper's name off parameters, in the graph and in the bodies of loops and branches."""
    names = {
        tensor.name: tensor.name.removeprefix(WRAPPER)
        for tensor in model.graph.initializer
        if tensor.name.startswith(WRAPPER)
    }
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    _rename_inputs(model.graph, names)


def _rename_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename_inputs(attribute.g, names)
