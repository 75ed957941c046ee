"""Quantization of a ticket: INT8 in QDQ form, zeros kept, with the error of every layer and the layers left float."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.grouped_reasons import grouped
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.operators import traits_of
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.model.traverse import all_nodes, used_names
from lth_deploy.compiler.quantization.calibrated import Calibrator
from lth_deploy.compiler.quantization.calibration import check_feeds, screened
from lth_deploy.compiler.quantization.channel_scales import mend_scales
from lth_deploy.compiler.quantization.layer_errors import layer_errors
from lth_deploy.compiler.quantization.learned_ranges import Learned
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.compiler.quantization.transformer_decoder import transformer_decoder
from lth_deploy.compiler.quantization.trunk import name_nodes, trunk_of
from lth_deploy.compiler.regions.match.qdq import LOWEST
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError, UsageError

log = logging.getLogger(__name__)

ANALYZED = 4
"""Images that the error of each layer is measured on."""

DECODER = "it is part of a transformer that ends the model"


@dataclass(frozen=True)
class Quantized:
    """A model in QDQ form whose weights have the names of the float model's.

    errors: of each quantized layer alone, relative, by the name of its weight. kept: weights of layers that stay
    float, and why. images: those that ranges were taken from. passed_up: whether more layers in float would lessen the
    error.
    """

    model: NormalizedModel
    errors: dict[str, float]
    kept: dict[str, str]
    images: int
    passed_up: bool = False


def is_quantized(model: ModelProto) -> bool:
    """Whether a model is in QDQ form, in regions or outside."""
    nodes = [*all_nodes(model.graph), *(node for function in model.functions for node in function.node)]
    return any(node.op_type == "QuantizeLinear" for node in nodes)


def quantize(
    model: NormalizedModel,
    feeds: Sequence[Feeds],
    target: Target,
    learned: Learned | None = None,
    *,
    care: int = MOST_CARE,
) -> Quantized:
    """Quantize a float model as the target says; weights that are zero stay zero.

    learned: what training with fake quantization found; its grids are taken instead of ranges from `feeds`. care: how
    much the error counts beside the time that it costs to lessen it, see `sensitive.GAINS`.

    Raises:
        DataError: the calibration images are missing, all alike or without work for a head.
        UsageError: the model is quantized already, or a pattern of `keep_float` matches nothing.
        ArtifactError: there is nothing to quantize, or ONNX Runtime's quantizer fails.
        MissingExtraError: the quantizer misses a package.
    """
    return Quantizer(model, feeds, target, learned).quantized(care)


class Quantizer:
    """A float model and what it is quantized on. What `quantized` measures for any care, it measures once."""

    def __init__(
        self, model: NormalizedModel, feeds: Sequence[Feeds], target: Target, learned: Learned | None = None
    ) -> None:
        """Check what is given; see `quantize`."""
        if is_quantized(model.proto):
            raise UsageError(
                "the model is quantized already; leave out --values int8, its int8 weights are packed as they are"
            )
        check_feeds(feeds, one_size=target.calibration.method in ("entropy", "percentile"))
        named = model.edited(lambda copy: name_nodes(copy.graph))
        kept = _kept_by_name(named.proto, target.keep_float)
        if learned is None and target.transformer_decoder == "float":
            kept = decoder_weights(named.proto) | kept
        if learned:
            names = [layer.name for layer in weight_layers(named.proto)]
            kept |= {name: "float in training" for name in names if name.removesuffix(".weight") not in learned.layers}
        self._model, self._feeds, self._target, self._learned, self._kept = named, feeds, target, learned, kept
        self._calibration: _Calibration | None = None

    def quantized(self, care: int = MOST_CARE) -> Quantized:
        """The model with so much care; see `quantize`."""
        made = self._quantized(self._kept, care)
        if self._target.keep_worst:
            worst = sorted(made.errors, key=lambda name: -made.errors[name])[: self._target.keep_worst]
            kept = {name: f"error {made.errors[name]:.1%}, of the largest" for name in worst}
            made = self._quantized({**self._kept, **kept}, care)
        kept_text = grouped(made.kept) or "none"
        log.info("quantized %d layers, %d stay float: %s", len(made.errors), len(made.kept), kept_text)
        return made

    def _quantized(self, kept: dict[str, str], care: int) -> Quantized:
        model, feeds, passed_up = self._model, self._feeds, False
        with storage.scratch("quantize") as folder:
            dense, out = folder / "dense.onnx", folder / "int8.onnx"
            save_model(model.proto, dense)
            method = self._target.calibration.method
            if self._learned is None and method == "mse":
                calibration = self._calibrated_on(kept, dense)
                found = calibration.calibrator.calibrated(self._target, care=care)
                kept, passed_up, images = found.kept, found.passed_up, len(calibration.feeds)
                quantize_dense(dense, calibration.feeds[:1], out, selection=found.selection)
            else:
                plain = "minmax" if method == "mse" else method
                made = quantize_dense(dense, feeds, out, method=plain, keep_float=kept, learned=self._learned)
                images = made.images
            quantized = onnx.load(str(out))
        _mend(quantized, {tensor.name: tensor for tensor in model.proto.graph.initializer}, kept)
        errors = layer_errors(model.proto, quantized, feeds[:ANALYZED])
        return Quantized(normalize(quantized), errors, kept, images, passed_up)

    def _calibrated_on(self, kept: dict[str, str], dense: Path) -> "_Calibration":
        if self._calibration is None or self._calibration.kept != kept:
            usable = screened(dense, self._feeds)
            self._calibration = _Calibration(kept, usable, Calibrator(self._model, kept, usable))
        return self._calibration


@dataclass(frozen=True)
class _Calibration:
    """kept: weights that stay float in any case. feeds: those that are of use."""

    kept: dict[str, str]
    feeds: list[Feeds]
    calibrator: Calibrator


def _kept_by_name(model: ModelProto, patterns: Sequence[str]) -> dict[str, str]:
    names = [layer.name for layer in weight_layers(model)]
    kept: dict[str, str] = {}
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise UsageError(f"keep_float: '{pattern}' matches no weight; weights are: {', '.join(names[:8])}, ...")
        kept.update((name, f"kept by '{pattern}'") for name in found)
    return kept


def decoder_weights(model: ModelProto) -> dict[str, str]:
    """The weights of a transformer that ends a model, with the reason why they stay float."""
    layers = {node.output[0]: node.input[1] for node in trunk_of(model).layers}
    return {layers[name]: DECODER for name in transformer_decoder(model.graph, layers.keys())}


def _mend(quantized: ModelProto, floats: dict[str, onnx.TensorProto], kept: Collection[str]) -> None:
    """Undo, in place, what ONNX Runtime's quantizer does to names, to scales of empty channels, and to float layers."""
    _named_as_before(quantized, floats)
    mend_scales(quantized, floats)
    _keep_float(quantized, kept)
    for tensor in quantized.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name in floats:
            exact, rounded = (numpy_helper.to_array(each) for each in (floats[tensor.name], tensor))
            if rounded.shape == exact.shape and np.any(rounded[exact == 0]):
                raise ArtifactError(
                    f"the quantizer gave pruned weights of '{tensor.name}' a value; nothing was written"
                )


def _named_as_before(model: ModelProto, floats: dict[str, onnx.TensorProto]) -> None:
    """Give int8 weights the names of the float ones: reports and multiplications are kept under them."""
    used = used_names(model)
    renamed = {}
    for tensor in model.graph.initializer:
        before = tensor.name.removesuffix("_quantized")
        if tensor.data_type == onnx.TensorProto.INT8 and before in floats and before not in used:
            renamed[tensor.name] = before
            tensor.name = before
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _keep_float(model: ModelProto, kept: Collection[str]) -> None:
    """Put a Max with the lowest float behind layers that stay float.

    ONNX Runtime quantizes the weights of any layer between a DequantizeLinear and a QuantizeLinear, unasked.
    """
    if not kept:
        return
    bound = numpy_helper.from_array(np.array(LOWEST, np.float32), "lth_deploy.lowest")
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if traits_of(node.op_type).float_layer and node.input[1] in kept:
            name = node.output[0]
            node.output[0] = f"{name}.float"
            nodes.append(helper.make_node("Max", [node.output[0], bound.name], [name], f"{node.name}.float"))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.append(bound)
