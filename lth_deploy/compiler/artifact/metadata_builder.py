"""The metadata of an export: what is known before compiling, and what the passes found, checked as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from lth_deploy.compiler.artifact.metadata import MAX_NAME, ArtifactMetadata, Measured, Quantization
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.element_types import short_name
from lth_deploy.errors import ArtifactError

V = TypeVar("V")

_DECIMALS = 4
"""Of predicted milliseconds and of shares."""

INT8 = short_name("int8")
"""What reports call the type of quantized weights."""


@dataclass(frozen=True, kw_only=True)
class PassResults:
    """What the passes of one export found.

    layers: what became of each weight layer. positions: name of a weight to the multiplications of each of its values
    in one inference. input_shapes: name of a graph input to the shape that positions and times are for. measured: times
    that decided which regions stay; None when none were measured. unpredicted_ms: milliseconds of all that is no
    predicted layer, with the kernel library and without; None when nobody profiled the model. outside_ms: of the latter
    those of each operator. costs, prediction_error: what was predicted from, and how far it may be off.
    removed_channels: name of a weight to its dead output channels that were removed, and how
    many it had before.
    """

    layers: Sequence[LayerReport]
    positions: Mapping[str, int]
    input_shapes: Mapping[str, Sequence[int]]
    measured: Measured | None = None
    unpredicted_ms: tuple[float, float] | None = None
    outside_ms: Mapping[str, float] = field(default_factory=dict)
    costs: str | None = None
    prediction_error: float | None = None
    quantization: Quantization | None = None
    removed_channels: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def int8_macs(self) -> float | None:
        """Share of the multiplications by weights whose weight is int8; None where none is, or nobody counted."""
        macs = {layer.name: layer.elements * self.positions.get(layer.name, 0) for layer in self.layers}
        whole = sum(macs.values())
        int8 = [layer.name for layer in self.layers if layer.value_type == INT8]
        return sum(macs[name] for name in int8) / whole if whole and int8 else None


@dataclass(frozen=True)
class MetadataBuilder:
    """The metadata of the files of one export.

    base: what holds whatever the passes find: decoder, classes, recipe, target. Channels that an earlier export removed
    stand in it already.
    """

    base: ArtifactMetadata
    results: PassResults

    def artifact(self, *, sparsity: float | None = None, control_sha256: str | None = None) -> ArtifactMetadata:
        """Metadata of the artifact.

        sparsity: share of zeros. control_sha256: digest of the dense control. Both are those of `base` where None.

        Raises:
            ArtifactError: a pass found what the schema does not allow.
        """
        found = self.results
        return with_changes(
            self._with_sizes(),
            **layer_metadata(found.layers),
            measured=found.measured,
            rest=found.unpredicted_ms,
            rest_by_operator={name: round(ms, _DECIMALS) for name, ms in found.outside_ms.items()},
            costs=None if found.costs is None else found.costs[:MAX_NAME],
            prediction_error=None if found.prediction_error is None else round(found.prediction_error, _DECIMALS),
            quantization=found.quantization,
            int8_macs=None if found.int8_macs is None else round(found.int8_macs, _DECIMALS),
            removed_channels=_together(self.base.removed_channels, _named(found.removed_channels)),
            sparsity=self.base.sparsity if sparsity is None else sparsity,
            control_sha256=control_sha256 or self.base.control_sha256,
        )

    def dense(self) -> ArtifactMetadata:
        """Metadata of the dense original that is written beside the artifact.

        Raises:
            ArtifactError: see `artifact`.
        """
        nothing = ArtifactMetadata()
        names = (
            "level",
            "sparsity",
            "control_sha256",
            "dense_because",
            "predicted",
            "rest",
            "rest_by_operator",
            "costs",
            "prediction_error",
            "measured",
            "int8_macs",
        )
        unset = {name: getattr(nothing, name) for name in (*names, "quantization")}
        return with_changes(self._with_sizes(), format="dense", values="fp32", **unset)

    def _with_sizes(self) -> ArtifactMetadata:
        shapes = {name: list(shape) for name, shape in self.results.input_shapes.items()}
        return with_changes(self.base, positions=_named(self.results.positions), predicted_for=_named(shapes))


def with_changes(metadata: ArtifactMetadata, **fields: Any) -> ArtifactMetadata:
    """A copy with other values for some fields, held to the schema, which `model_copy` does not do.

    Raises:
        ArtifactError: there is no such field, or it cannot have the value.
    """
    try:
        return ArtifactMetadata.model_validate({**dict(metadata), **fields})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"the metadata of this export cannot be written: {place}: {first['msg']}") from error


def layer_metadata(layers: Sequence[LayerReport]) -> dict[str, Any]:
    """The fields `dense_because` and `predicted`, by the name of each layer's weight."""
    return {
        "dense_because": _named({one.name: one.dense_because[:MAX_NAME] for one in layers if one.dense_because}),
        "predicted": _named(
            {
                one.name: (round(one.sparse_ms, _DECIMALS), round(one.dense_ms, _DECIMALS))
                for one in layers
                if one.sparse_ms is not None and one.dense_ms is not None
            }
        ),
    }


def _named(values: Mapping[str, V]) -> dict[str, V]:
    """Values by names, which are cut to the length that metadata may have."""
    return {name[:MAX_NAME]: value for name, value in values.items()}


def _together(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Channels that an earlier export of the file removed, and those of this one."""
    sums = {name: (before[name][0] + gone, before[name][1]) for name, (gone, _) in now.items() if name in before}
    return {**before, **now, **sums}
