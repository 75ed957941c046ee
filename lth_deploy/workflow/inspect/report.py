"""What `inspect` finds in a file, as data."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.workflow.inspect.coverage import Coverage
from lth_deploy.workflow.inspect.predicted_speed import predicted_model, predicted_times

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata


@dataclass(frozen=True)
class LayerRow:
    """One weight layer; positions: multiplications of each weight in one inference, None when unknown.

    reason: why it is not packed, None when it is. region: the operator that computes it where the kernel library
    is registered. dense_because: why there is none, when the file says so. predicted_ms: sparse and dense.
    empty_quads: share of quads without a weight, of int8 layers. error: relative, of an int8 layer quantized alone.
    """

    name: str
    op_type: str
    shape: tuple[int, ...]
    elements: int
    zeros: int
    uses: int
    coding: str
    bytes: int
    entropy_bytes: float
    positions: int | None
    reason: str | None
    region: str | None = None
    dense_because: str | None = None
    predicted_ms: tuple[float, float] | None = None
    empty_quads: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Sparsity:
    """Weights that are zero, out of all."""

    zeros: int
    elements: int

    @property
    def share(self) -> float:
        """Zeros over elements; 0 of nothing."""
        return self.zeros / self.elements if self.elements else 0.0


@dataclass(frozen=True)
class InspectReport:
    """Everything that `inspect` prints.

    bytes_zstd: of the file after zstd -19. dense_bytes: of the file were every weight stored in full as
    float32. zero_bytes: bytes of the file that store a zero weight. coo_bytes and entropy_bytes: of the file
    with sparse initializers, and at the entropy bound of the positions. prunable: weights of layers that can
    be packed. parameters: all float constants. macs: multiplications of one inference; None when nobody
    measured them. decoder: the one that is chosen by itself, and why; or why there is none. coverage: what of the model
    lies inside regions; None without any.
    """

    path: Path
    format: str
    opset: int
    bytes: int
    bytes_zstd: int
    dense_bytes: int
    coo_bytes: int
    entropy_bytes: int
    zero_bytes: int
    prunable: Sparsity
    parameters: Sparsity
    macs: Sparsity | None
    layers: tuple[LayerRow, ...]
    metadata: "ArtifactMetadata | None"
    notes: tuple[str, ...]
    decoder: str = "none"
    coverage: Coverage | None = None

    @property
    def predicted_ms(self) -> tuple[float, float] | None:
        """Milliseconds of the whole model on one thread, with the kernels and dense; None where nobody predicted."""
        return None if self.metadata is None else predicted_model(self.layers, self.metadata)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        plain = asdict(self)
        plain["path"] = str(self.path)
        plain["metadata"] = self.metadata.model_dump(mode="json") if self.metadata else None
        plain["predicted_ms"] = {"layers": predicted_times(self.layers), "model": self.predicted_ms}
        for key in ("prunable", "parameters", "macs"):
            if plain[key] is not None:
                plain[key]["share"] = getattr(self, key).share
        return plain
