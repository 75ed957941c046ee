"""What an artifact says about itself: one JSON text in the metadata of the ONNX file."""

import json
from typing import Annotated, Any, Literal

from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field

from lth_deploy.compiler.artifact.domain import METADATA_KEY
from lth_deploy.errors import ArtifactError

MAX_BYTES = 4 << 20
MAX_DEPTH = 32
"""Levels of lists and objects in the metadata."""

MAX_NAME = 512
"""Characters of a name or a reason."""

WHOLE = "whole"
"""Name of the whole model among measured times."""

Name = Annotated[str, Field(max_length=MAX_NAME)]
Milliseconds = Annotated[float, Field(ge=0)]
Channels = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClassName(_Part):
    """One class: `id` is the category id in the data set, the label is its position counted from 1."""

    id: int
    name: Name


class Measured(_Part):
    """Times of an export that was tuned, in milliseconds on one thread.

    times: of the `whole` model and of each region by its operator: with kernels, and dense.
    """

    cpu: Name
    times: dict[Name, tuple[Milliseconds, Milliseconds]]


class Quantization(_Part):
    """How a float ticket became int8.

    method: how ranges follow from the calibration images, of which there were `images`. errors: weight name to the
    relative error of its layer, quantized alone. kept_float: weight name to the reason why its layer stays float.
    """

    method: Name
    images: Annotated[int, Field(ge=0)]
    errors: dict[Name, Annotated[float, Field(ge=0)]] = {}
    kept_float: dict[Name, Name] = {}


class ArtifactMetadata(_Part):
    """Everything that a user of the file needs beside the graph.

    decoder: name of the decoder that feeds the model and reads its outputs; None when nobody named one.
    preprocessing: what the decoder expects of pixels, in words and numbers; decoders of models from elsewhere read it.
    decoder_options: what else the decoder has to know of the model, by the names of its own options.
    level: name of the pruning level. sparsity: share of zeros over the layers that were pruned.
    positions: weight name to multiplications of one weight in one inference. predicted_for: input name to the shape
    that positions and all times are for; other sizes take other times.
    dense_because: weight name to the reason why no region computes its layer.
    predicted: weight name to milliseconds of its layer on one thread, sparse and dense.
    rest: milliseconds of all that is no predicted layer, on one thread, with the kernel library and without; None when
    nobody profiled the model. rest_by_operator: the latter for the ONNX operators that take most of it.
    costs: in words, the table that all of this was predicted from. prediction_error: share by which the predicted ratio
    of the whole model may be off; None where the table does not say.
    removed_channels: weight name to output channels that were dead and left out, and how many there were before.
    measured, quantization: see there. int8_macs: share of the multiplications of one inference by weights of layers
    whose weight is int8; None where no weight is, or nobody counted.
    control_sha256: digest of the dense control that the artifact is compared with.
    """

    version: Literal[1] = 1
    decoder: Name | None = None
    classes: Annotated[list[ClassName], Field(max_length=100_000)] = []
    keypoints: Annotated[list[Name], Field(max_length=10_000)] = []
    preprocessing: dict[Name, Any] = {}
    decoder_options: dict[Name, Name] = {}
    recipe_digest: Name | None = None
    level: Name | None = None
    sparsity: Annotated[float, Field(ge=0, le=1)] | None = None
    values: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    format: Literal["packed", "dense", "coo"] = "packed"
    target: Name | None = None
    created_by: dict[Name, Name] = {}
    opset: Annotated[int, Field(ge=1, le=1000)] | None = None
    positions: dict[Name, Annotated[int, Field(ge=0)]] = {}
    predicted_for: dict[Name, Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=16)]] = {}
    dense_because: dict[Name, Name] = {}
    predicted: dict[Name, tuple[Milliseconds, Milliseconds]] = {}
    rest: tuple[Milliseconds, Milliseconds] | None = None
    rest_by_operator: dict[Name, Milliseconds] = {}
    costs: Name | None = None
    prediction_error: Annotated[float, Field(ge=0)] | None = None
    removed_channels: dict[Name, tuple[Channels, Channels]] = {}
    measured: Measured | None = None
    quantization: Quantization | None = None
    int8_macs: Annotated[float, Field(ge=0, le=1)] | None = None
    control_sha256: Name | None = None


def write_metadata(model: ModelProto, metadata: ArtifactMetadata) -> None:
    """Put `metadata` into the model in place of what was there; other metadata entries stay.

    Raises:
        ArtifactError: it is too large.
    """
    text = json.dumps(metadata.model_dump(mode="json", exclude_defaults=True), separators=(",", ":"))
    if len(text.encode()) > MAX_BYTES:
        raise ArtifactError(f"the metadata has {len(text.encode())} bytes, at most {MAX_BYTES} are allowed")
    others = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=METADATA_KEY, value=text)


def read_metadata(model: ModelProto) -> ArtifactMetadata | None:
    """What a model says about itself; None for a model that was not made here.

    Raises:
        ArtifactError: the entry is too large, no JSON, or breaks the schema.
    """
    return parse_metadata({entry.key: entry.value for entry in model.metadata_props})


def parse_metadata(entries: dict[str, str]) -> ArtifactMetadata | None:
    """`read_metadata` from a map of metadata entries, as runtimes hand it out."""
    text = entries.get(METADATA_KEY)
    if text is None:
        return None
    if len(text) > MAX_BYTES:
        raise ArtifactError(f"metadata '{METADATA_KEY}' has {len(text)} characters, at most {MAX_BYTES}")
    try:
        content = json.loads(text)
        _check_depth(content)
        return ArtifactMetadata.model_validate(content)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, a number of too many digits, or the schema
        reason = str(error).replace("\n", "; ")[:500]
        raise ArtifactError(f"metadata '{METADATA_KEY}' is invalid: {reason}; export again") from error


def _check_depth(content: Any) -> None:
    """Parsers bound the depth by the stack; what is written again later must stay far below."""
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for one in level for inner in _children(one)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
