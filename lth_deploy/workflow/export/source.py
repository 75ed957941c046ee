"""What an export is made from, and what the stages of the pipeline make of it, as types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from onnx import ModelProto

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata
from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, PassResults
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.quantization.learned_ranges import Learned
from lth_deploy.config.target import Target
from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.measure.agreement import Agreement
from lth_deploy.measure.float_twin import FloatTwin
from lth_deploy.workflow.gates.class_names import Named
from lth_deploy.workflow.gates.regions import RegionCheck

P = TypeVar("P")
"""What the parity gate of a source reports."""


@dataclass(frozen=True)
class Trimmed:
    """A model without dead channels. removed: name of a weight to how many output channels went, of how many."""

    model: NormalizedModel
    removed: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Calibration:
    """What activation ranges come from: inputs, or the grids that fine-tuning has learned."""

    feeds: Sequence[Feeds]
    learned: Learned | None = None


@dataclass(frozen=True)
class Compiled:
    """A model in its target's format, in memory.

    stored: the normalized model that it was packed from. twin: how fast an int8 one is; None of others, and where that
    is not known. passed_up: whether more layers of an int8 one could stay float, for AP.
    """

    model: ModelProto
    stored: NormalizedModel
    results: PassResults
    twin: FloatTwin | None = None
    passed_up: bool = False


@dataclass(frozen=True)
class Written:
    """An artifact on the disk, not yet gated. control: the dense model beside it. sparsity: share of zeros."""

    file: Path
    control: Path | None
    sparsity: float | None
    compiled: Compiled


@dataclass(frozen=True)
class Accuracy:
    """AP of what the artifact is compared with, and of the artifact, on the same images."""

    reference: Scores
    artifact: Scores


@dataclass(frozen=True)
class Gated(Generic[P]):
    """An artifact that passed every gate.

    regions: None without regions or kernel library. accuracy: None without data. agreement: of an int8 artifact with
    its dense control, where there are no data.
    """

    written: Written
    parity: P
    regions: RegionCheck | None
    accuracy: Accuracy | None
    agreement: Agreement | None = None

    @property
    def unreached(self) -> tuple[str, ...]:
        """Regions that no input of the gate reached."""
        return () if self.regions is None else self.regions.unreached


class Source(Protocol[P]):
    """A model to export, with all that the pipeline does not know by itself."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def target(self) -> Target:
        """The file that is wanted."""

    @property
    def model(self) -> NormalizedModel:
        """The normalized model, pruned."""

    @property
    def inputs(self) -> Sequence[tuple[str, Feeds]]:
        """Named inputs on which regions are compared; on the first one, uses of weights are counted."""

    @property
    def counts_in_float_order(self) -> bool:
        """Whether metadata list uses of weights in the order of the float model's nodes, or in the quantized one's.

        The counts are the same. The order is a part of the artifact's bytes, so each source keeps its own.
        """

    @property
    def knows_ap(self) -> bool:
        """Whether `accuracy` will tell."""

    @property
    def classes(self) -> Sequence[Named]:
        """The classes that the artifact has to name, in the order of their labels."""

    @property
    def metadata(self) -> ArtifactMetadata:
        """What the artifact says of itself whatever the passes find."""

    def without_dead_channels(self) -> Trimmed:
        """The model without channels that are zero on any input, where the source may lose them."""

    def calibration(self) -> Calibration:
        """For `values: int8`.

        Raises:
            DataError: there are no images.
        """

    def sparsity(self, layers: Sequence[LayerReport]) -> float | None:
        """Share of zeros of an artifact with these layers; None where the metadata have it already."""

    def control(self, metadata: MetadataBuilder) -> Path | None:
        """The dense control on the disk, gated as far as it can be; None for the control itself."""

    def hold_parity(self, written: Written) -> P:
        """Hold the artifact to what the source computes.

        Raises:
            ParityError: it computes something else. GateError: it finds less than it may.
        """

    def accuracy(self, written: Written, parity: P) -> Accuracy | None:
        """AP of the artifact beside that of its reference, held to the bound of the source; None without data.

        Raises:
            GateError: more AP is lost than allowed.
        """

    def agreement(self, written: Written) -> Agreement | None:
        """What an int8 artifact finds of what its control finds; None for floats, and where there are data."""

    def float_scores(self, written: Written, accuracy: Accuracy) -> Scores:
        """Of an int8 artifact, the scores of the pruned float model that it was quantized from."""
