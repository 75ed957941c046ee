"""What `export --onnx` reports of an export that it has written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lth_deploy.measure.agreement import Agreement
from lth_deploy.measure.float_twin import FloatTwin
from lth_deploy.workflow.export.share_search.tries import ShareSearch

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.pack import LayerReport
    from lth_deploy.compiler.one_shot.magnitude import LayerLoss
    from lth_deploy.workflow.export.onnx_source import OnnxSource
    from lth_deploy.workflow.export.source import Gated


@dataclass(frozen=True)
class OnnxExport:
    """What was written: the artifact, the dense baseline beside it, and the figures in `report`.

    sparsity: share of the prunable weights that are zero or were removed with dead channels. deviation: largest
    relative difference of a raw output from the original with the same weights. kernel_deviation: the same of the
    regions' outputs, computed by the kernel library; None without regions or library. unreached_regions: those that no
    input of the gate reached, of which nothing is known. ap, dense_ap: box AP; None where there is no data.
    losses: zeros and error of each layer that was reconstructed. int8_macs: share of the multiplications whose weight
    is int8; None where none is. agreement: what an int8 artifact finds of what the original finds in the calibration
    images; None where AP is known. search: how the share of zeros was found; None where it was given. twin: how fast an
    int8 artifact is beside the dense model; None of others, and where that is not known.
    """

    artifact: Path
    dense: Path
    report: Path
    bytes: int
    dense_bytes: int
    sparsity: float
    deviation: float
    kernel_deviation: float | None
    unreached_regions: tuple[str, ...]
    checked_on: str
    ap: float | None
    dense_ap: float | None
    layers: "tuple[LayerReport, ...]"
    losses: "dict[str, LayerLoss]"
    int8_macs: float | None = None
    agreement: Agreement | None = None
    search: ShareSearch | None = None
    twin: FloatTwin | None = None

    @property
    def not_packed(self) -> dict[str, int]:
        """Layers that are stored in full, counted for each reason."""
        from lth_deploy.compiler.model.grouped_reasons import not_packed

        return not_packed(self.layers)

    def as_record(self) -> dict[str, Any]:
        """Plain values for the record of the export; files by their names."""
        names = {"artifact": self.artifact.name, "dense": self.dense.name, "report": self.report.name}
        return asdict(self) | names | {"not_packed": self.not_packed}

    @classmethod
    def of(cls, source: "OnnxSource", gated: "Gated[float]", report: Path) -> "OnnxExport":
        """What the pipeline made of a source. report: where the record will stand."""
        written, accuracy = gated.written, gated.accuracy
        assert written.control is not None
        assert written.sparsity is not None
        return cls(
            artifact=written.file,
            dense=written.control,
            report=report,
            bytes=written.file.stat().st_size,
            dense_bytes=written.control.stat().st_size,
            sparsity=written.sparsity,
            deviation=gated.parity,
            kernel_deviation=None if gated.regions is None else gated.regions.deviation,
            unreached_regions=gated.unreached,
            checked_on=source.checked_on,
            ap=None if accuracy is None else accuracy.artifact.ap("bbox"),
            dense_ap=None if accuracy is None else accuracy.reference.ap("bbox"),
            layers=tuple(written.compiled.results.layers),
            losses=dict(source.losses),
            int8_macs=written.compiled.results.int8_macs,
            agreement=gated.agreement,
            search=source.search,
            twin=written.compiled.twin,
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any], folder: Path) -> "OnnxExport":
        """The export in `folder` whose record has these values."""
        from lth_deploy.compiler.artifact.pack import LayerReport
        from lth_deploy.compiler.one_shot.magnitude import LayerLoss

        values = {key: value for key, value in record.items() if key != "not_packed"}
        values |= {key: folder / record[key] for key in ("artifact", "dense", "report")}
        values["layers"] = tuple(LayerReport(**{**row, "shape": tuple(row["shape"])}) for row in record["layers"])
        values["agreement"] = None if record["agreement"] is None else Agreement(**record["agreement"])
        values["search"] = None if record["search"] is None else ShareSearch.from_record(record["search"])
        values["twin"] = None if record["twin"] is None else FloatTwin(**record["twin"])
        values["losses"] = {name: LayerLoss(**loss) for name, loss in record["losses"].items()}
        return cls(**values | {"unreached_regions": tuple(record["unreached_regions"])})


def loss_rows(losses: "Mapping[str, LayerLoss]") -> list[list[str]]:
    """A table of what reconstruction did to each layer, header first."""
    header = ["layer", "weights", "zeros %", "error %", "by magnitude %"]
    rows = [
        [
            name,
            f"{one.elements:,}",
            *(f"{100 * x:.1f}" for x in (one.zeros / one.elements, one.error, one.magnitude_error)),
        ]
        for name, one in losses.items()
    ]
    return [header, *rows]
