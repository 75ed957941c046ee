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
from lth_deploy.compiler.model.operators import operators_with
from lth_deploy.compiler.model.traverse import all_graphs
from lth_deploy.compiler.model.unshare_biases import unshare_biases
from lth_deploy.compiler.quantization.calibration import Screened, quantizer, reader
from lth_deploy.compiler.quantization.learned_ranges import Learned, overrides
from lth_deploy.compiler.quantization.selection import Selection, by_dataflow, by_training, keep_others_float
from lth_deploy.compiler.quantization.trunk import name_nodes
from lth_deploy.engine_messages import failure_of
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
    selection: Selection | None = None,
    float_outputs: bool = True,
) -> QuantizationReport:
    """Write the INT8 twin of the ONNX file `dense` to `out`.

    feeds: model inputs of the calibration images, read once. reduce_range: 7-bit weights, which x86 without
    VNNI needs because its 16-bit sums saturate. method: how ranges follow from activations. keep_float: weights whose
    layers are left as they are. learned: what training with fake quantization found; then only its layers are
    quantized, with its grids. selection: what is quantized, and on which grids, where that is known already; without
    one it is all but `keep_float`. float_outputs: what the last layers make stays float then. ONNX Runtime computes
    these layers in floats: it has INT8 kernels only for layers whose outputs are quantized.

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
    if selection is None and learned:
        selection = by_training(model, learned)
    elif selection is None:
        selection = by_dataflow(model, keep_float, float_outputs=float_outputs)
    if not selection.layers:
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
                    nodes_to_quantize=[*selection.layers, *selection.carriers],
                    op_types_to_quantize=[*operators_with(lambda t: t.float_layer or t.carries_uint8)],
                    extra_options={"TensorQuantOverrides": overrides(selection.grids, quantization.QuantType.QUInt8)},
                )
        except (DataError, MemoryError):
            raise
        except Exception as error:
            failure = failure_of(error)
            raise ArtifactError(
                f"ONNX Runtime's quantizer fails on {dense}: {failure.reason}; leave the INT8 row out",
                detail=f"{type(error).__name__}: {failure.text}",
            ) from error
        finished = _without_inferred_shapes(quantized)
        keep_others_float(finished, selection.tensors)
        storage.write_bytes(out, finished.SerializeToString())
    return QuantizationReport(len(selection.layers), len(selection.carriers), screened.used, screened.skipped)


def _without_inferred_shapes(path: Path) -> onnx.ModelProto:
    """The file without the shapes that the quantizer noted: they hold only for images with as many detections.

    ONNX Runtime believes them, rewrites reshapes accordingly and then fails on other images.
    """
    model = onnx.load(str(path))
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
    return model


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
