"""Static INT8 with ONNX Runtime's own quantizer: of the dense peer that sparsity has to beat, and of tickets.

QDQ form, u8 activations, s8 weights per output channel, ranges from calibration images. Only the trunk is
quantized: convolutions, matrix products, and the layers between them that carry feature maps. Box arithmetic,
RoIAlign and NMS keep their floats, also inside If and Loop bodies, which the quantizer does not enter.
"""

import logging
import operator
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.model.fixed_layers import fixed_layers
from lth_deploy.compiler.model.operators import operators_with, traits_of
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.model.unshare_biases import unshare_biases
from lth_deploy.compiler.quantization.calibration import Screened, quantizer, reader
from lth_deploy.compiler.quantization.learned_ranges import (
    Learned,
    keep_outputs_float,
    layer_of,
    overrides,
    place_grids,
)
from lth_deploy.errors import ArtifactError, DataError
from lth_deploy.progress import progress

log = logging.getLogger(__name__)

Method = Literal["minmax", "entropy", "percentile"]

_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


@dataclass(frozen=True)
class QuantizationReport:
    """What was done: layers quantized, images used, images left out because a head had nothing to work on."""

    weight_layers: int
    carriers: int
    images: int
    skipped_images: int


def quantize_dense(
    dense: Path,
    feeds: Iterable[Feeds],
    out: Path,
    *,
    reduce_range: bool = False,
    method: Method = "minmax",
    keep_float: Collection[str] = (),
    learned: Learned | None = None,
) -> QuantizationReport:
    """Write the INT8 twin of the ONNX file `dense` to `out`.

    feeds: model inputs of the calibration images, read once. reduce_range: 7-bit weights, which x86 without
    VNNI needs because its 16-bit sums saturate. method: how ranges follow from activations. keep_float: weights whose
    layers are left as they are. learned: what training with fake quantization found; then only its layers are
    quantized, with its grids.

    Raises:
        MissingExtraError: ONNX Runtime's quantizer misses a package.
        DataError: no calibration image exercises all layers.
        ArtifactError: the model has no layer to quantize, or the quantizer or ONNX Runtime refuses it.
    """
    quantization = quantizer()
    model = onnx.load(str(dense), load_external_data=False)
    name_nodes(model.graph)
    # A bias is stored in units of its layer's input scale, which differs where heads are shared by pyramid levels.
    unshare_biases(model, each_use=True)
    grids = place_grids(model.graph, learned) if learned else {}
    fixed = fixed_layers(model)
    kept = {node.name for node in model.graph.node if len(node.input) > 1 and node.input[1] in keep_float}
    kept |= {node.name for node in model.graph.node if node.output and node.output[0] in fixed}
    weights, carriers = trunk(model.graph, learned.layers if learned else None)
    weights = [name for name in weights if name not in kept]
    if not weights:
        raise ArtifactError(
            f"{dense} has no Conv, ConvTranspose, Gemm or MatMul with constant float weights at its top "
            f"level; "
            "leave the INT8 row out"
        )
    with storage.scratch("int8") as folder:
        prepared, quantized = folder / "prepared.onnx", folder / "int8.onnx"
        onnx.save(model, str(prepared))
        try:
            with _without_advice(), progress("INT8 calibration", total=operator.length_hint(feeds) or None) as step:
                screened = Screened(prepared, feeds, step)
                quantization.quantize_static(
                    str(prepared),
                    str(quantized),
                    reader(quantization, screened),
                    quant_format=quantization.QuantFormat.QDQ,
                    per_channel=True,
                    reduce_range=reduce_range,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=getattr(quantization.CalibrationMethod, _METHODS[method]),
                    nodes_to_quantize=[*weights, *carriers],
                    op_types_to_quantize=[*operators_with(lambda t: t.float_layer or t.carries_uint8)],
                    extra_options={"TensorQuantOverrides": overrides(grids, quantization.QuantType.QUInt8)},
                )
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise ArtifactError(
                f"ONNX Runtime's quantizer fails on {dense}: {type(error).__name__}: {error}; leave the INT8 row out"
            ) from error
        finished = _without_inferred_shapes(quantized)
        if learned is not None:
            keep_outputs_float(finished, grids)
        storage.write_bytes(out, finished.SerializeToString())
    return QuantizationReport(len(weights), len(carriers), screened.used, screened.skipped)


def _without_inferred_shapes(path: Path) -> onnx.ModelProto:
    """The file without the shapes that the quantizer noted: they hold only for images with as many detections.

    ONNX Runtime believes them, rewrites reshapes accordingly and then fails on other images.
    """
    model = onnx.load(str(path))
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
    return model


def trunk(graph: onnx.GraphProto, layers: Collection[str] | None = None) -> tuple[list[str], list[str]]:
    """Names of the nodes to quantize: weight layers, of those named in `layers` only, and the carriers between them.

    A carrier qualifies when all its data inputs come out of the trunk and something of the trunk reads it;
    box arithmetic fails the first test, for it starts from reshapes, and score heads the second.
    """
    constants = _float_constants(graph)
    weights = [n for n in graph.node if traits_of(n.op_type).float_layer and _is_weight_layer(n, constants)]
    if layers is not None:
        weights = [node for node in weights if layer_of(node) in layers]
    features = {n.output[0] for n in weights}
    carriers: list[onnx.NodeProto] = []
    for node in graph.node:
        traits = traits_of(node.op_type)
        if not (traits.carries_uint8 if layers is None else traits.trained_quantized):
            continue
        data = list(node.input) if traits.joins else list(node.input[:1])
        if all(name in features for name in data):
            features.add(node.output[0])
            carriers.append(node)
    return [n.name for n in weights], [n.name for n in _read_by_trunk(carriers, weights)]


def _read_by_trunk(carriers: list[onnx.NodeProto], weights: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    wanted = {n.input[0] for n in weights}
    kept = []
    for node in reversed(carriers):
        if node.output[0] in wanted:
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _float_constants(graph: onnx.GraphProto) -> set[str]:
    names = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"] if node.op_type == "Constant" else []
        if values and values[0].data_type == onnx.TensorProto.FLOAT:
            names.add(node.output[0])
    return names


def _is_weight_layer(node: onnx.NodeProto, constants: set[str]) -> bool:
    return node.input[1] in constants and node.input[0] not in constants


def name_nodes(graph: onnx.GraphProto) -> None:
    """The quantizer addresses nodes by name, and names need not exist nor be unique in ONNX."""
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep the quantizer's advice to fold norms, which are folded already, off the root logger."""
    root = logging.getLogger()

    def is_no_advice(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(is_no_advice)
    try:
        yield
    finally:
        root.removeFilter(is_no_advice)
