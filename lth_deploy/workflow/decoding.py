"""The decoder of an ONNX file: as its metadata, the command line, or the graph itself have it."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy.decoders import (
    AUTO,
    DECODERS,
    Choice,
    Decoder,
    choose,
    fit_named,
    fit_recorded,
    is_file,
    load_decoder,
)
from lth_deploy.decoders.model.hints import Hints, read_hints
from lth_deploy.decoders.model.signature import Signature, TensorType
from lth_deploy.engine_messages import EngineFailure, failure_of
from lth_deploy.errors import ArtifactError, LthError

if TYPE_CHECKING:
    import onnx

    from lth_deploy.arrays import Feeds
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecoderChoice:
    """choice: family and reason; None where the decoder is the user's own file."""

    decoder: Decoder
    choice: Choice | None

    def record(self) -> dict[str, object]:
        """What the metadata of an artifact say of it. A decoder of the user's own is not named: names run no code."""
        if self.choice is None:
            return {}
        found: dict[str, object] = {"decoder": self.choice.name}
        preprocessing = self.choice.decoder.preprocessing
        if preprocessing is not None:
            found["preprocessing"] = preprocessing.model_dump(mode="json", exclude_defaults=True)
            found["decoder_options"] = dict(self.choice.decoder.options)
        return found


def decoder_of_file(
    path: Path,
    model: "onnx.ModelProto",
    metadata: "ArtifactMetadata | None",
    named: str | None,
    *,
    may_run: bool = True,
) -> DecoderChoice:
    """How to feed a model, and to read its outputs.

    named: a family, 'FILE.py:function', or None or `auto` for what the file says. The choice is logged.
    may_run: whether the model is run where its graph leaves sizes of outputs open: in a child process with limits.

    Raises:
        UsageError: no family fits, or several do, or the named one does not. ArtifactError: the file contradicts
            itself.
    """
    if named is not None and is_file(named):
        return DecoderChoice(load_decoder(named), None)
    recorded = metadata.decoder if metadata is not None else None
    signature = signature_of(model)
    if named in (None, AUTO, recorded) and metadata is not None and recorded is not None:
        names = tuple(entry.name for entry in metadata.classes) or None
        choice = fit_recorded(recorded, signature, names, metadata.preprocessing, metadata.decoder_options)
        return DecoderChoice(choice.decoder, choice)
    signature = _measured(model, signature) if may_run else signature
    choice = choose(signature) if named is None or named == AUTO else fit_named(named, signature)
    log.info("%s: %s", path.name, choice)
    return DecoderChoice(choice.decoder, choice)


def described_decoder(path: Path, model: "onnx.ModelProto", metadata: "ArtifactMetadata | None") -> str:
    """The decoder that `auto` finds without running the model, and why; or in words why none."""
    try:
        choice = decoder_of_file(path, model, metadata, None, may_run=False).choice
    except LthError as error:
        return f"none: {str(error).partition('; known are')[0]}"
    return "none" if choice is None else str(choice).removeprefix("decoder ")


def signature_of(model: "onnx.ModelProto") -> Signature:
    """Inputs and outputs of a model as its graph declares them."""
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = [_tensor(value) for value in model.graph.input if value.name not in constants]
    suppressions = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"]
    center = any(
        attribute.name == "center_point_box" and onnx.helper.get_attribute_value(attribute) == 1
        for node in suppressions
        for attribute in node.attribute
    )
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return Signature(inputs, [_tensor(value) for value in model.graph.output], properties, center)


def _tensor(value: "onnx.ValueInfoProto") -> TensorType:
    from lth_deploy.compiler.model.tensor_types import numpy_type

    if not value.type.HasField("tensor_type"):
        return TensorType(value.name, value.type.WhichOneof("value") or "no type", None)
    tensor = value.type.tensor_type
    try:
        dtype = numpy_type(tensor.elem_type).name
    except (KeyError, ValueError):
        dtype = "no type"
    if not tensor.HasField("shape"):
        return TensorType(value.name, dtype, None)
    sizes = tuple(int(dim.dim_value) if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return TensorType(value.name, dtype, sizes)


def _measured(model: "onnx.ModelProto", signature: Signature) -> Signature:
    """The signature with the sizes that outputs have when the model runs, where the graph leaves some open.

    Raises:
        UsageError: it runs on no usual size. ArtifactError: it does not run, or not at the size that its metadata say.
    """
    from lth_deploy.compiler.model.ort_session import session
    from lth_deploy.compiler.model.random_inputs import fitting_sizes

    known = all(None not in (tensor.shape or (None, None))[1:] for tensor in signature.outputs)
    if known or not isinstance(DECODERS.get("lth").fit(signature, Hints()), str):
        return signature
    given, size = _given_sizes(signature)
    running, shapes = session(model), {}
    names = [output.name for output in running.get_outputs()]

    def trial(feeds: "Feeds") -> EngineFailure | None:
        try:
            values = running.run(names, dict(feeds))
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            return failure_of(error)
        shapes.update({name: np.shape(value) for name, value in zip(names, values, strict=True)})
        return None

    try:
        fitting_sizes(model, given, trial)
    except LthError as error:
        if size is None:
            raise
        said = f"metadata 'imgsz' is {size[0]}x{size[1]}, but the graph refuses it"
        raise ArtifactError(f"{said}: {error}") from error
    outputs = [replace(tensor, shape=shapes.get(tensor.name, tensor.shape)) for tensor in signature.outputs]
    return replace(signature, outputs=outputs)


def _given_sizes(signature: Signature) -> "tuple[dict[str, tuple[int, ...]], tuple[int, int] | None]":
    """The shape of the image that the metadata say, by the name of its input, and its height and width."""
    keys = ("imgsz", "imgsz_h", "imgsz_w", "stride")
    size = read_hints({key: value for key, value in signature.properties.items() if key in keys}).size
    images = [tensor for tensor in signature.inputs if tensor.fits(None, 3, None, None)]
    if size is None or len(images) != 1 or not images[0].fits(None, 3, *size):
        return {}, None
    return {images[0].name: (images[0].size(0) or 1, 3, *size)}, size
