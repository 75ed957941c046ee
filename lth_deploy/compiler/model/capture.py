"""The only place that calls torch's ONNX exporter."""

import copy
import io
import warnings
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


def capture(module: nn.Module, sample: npt.NDArray[np.uint8], opset: int = OPSET) -> onnx.ModelProto:
    """Trace a detector into one ONNX graph that takes images of every size.

    module: an `ExportableDetector`, best with normalization folded; it is copied, never changed. sample:
    an image uint8 [H, W, 3]; tracing runs it, and its content leaves no mark on the graph. Initializers
    carry the names of the detector's parameters, but for scale and shift of group norm, which the exporter
    reshapes.

    Raises:
        UsageError: the sample is not an image.
        onnx.checker.ValidationError: the exporter wrote an invalid graph.
    """
    if sample.ndim != 3 or sample.shape[2] != 3 or sample.dtype != np.uint8:
        raise UsageError(
            f"capture: the sample is {sample.dtype} {sample.shape}; give an image, uint8 [height, width, 3]"
        )
    copied = copy.deepcopy(module).cpu().eval().requires_grad_(False)
    model = onnx.load_model_from_string(_export(copied, torch.from_numpy(sample.copy()), opset))
    _drop_initializer_inputs(model.graph)
    _rename_initializers(model)
    onnx.checker.check_model(model)
    return model


def _export(module: nn.Module, image: torch.Tensor, opset: int) -> bytes:
    buffer = io.BytesIO()
    # The exporter warns of every shape that Python sees and of its own age; that the graph takes other sizes
    # and computes the same is held by tests and by the parity gate of every export.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (image,),
            cast(Any, buffer),  # a stream is accepted, the annotation names only paths
            # The exporter through torch.export cannot trace non-maximum suppression as of torch 2.15.
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            output_names=list(cast(Any, module).output_names),
            dynamic_axes=_dynamic_axes(cast(Any, module).output_names),
            # Otherwise parameters of equal values, say zero biases, are merged and lose their names.
            keep_initializers_as_inputs=True,
        )
    return buffer.getvalue()


def _dynamic_axes(outputs: tuple[str, ...]) -> dict[str, dict[int, str]]:
    axes = {name: {0: "objects"} for name in outputs}
    if "masks" in axes:
        axes["masks"] |= {1: "height", 2: "width"}
    return {"image": {0: "height", 1: "width"}, **axes}


def _drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Make parameters constants again; as inputs they would keep runtimes from optimizing."""
    parameters = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in parameters]
    del graph.input[:]
    graph.input.extend(kept)


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
