"""The INT8 twin of a small search, exported through gates that a network which has hardly trained can pass."""

from pathlib import Path

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, read_metadata
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.workflow.export.from_run import ExportResult, export

# Steps that fall to either side reach the outputs of such a network without being averaged away.
LENIENT = Target(values="int8", gates=GatesSpec(int8_ap_drop=1.0, int8_steps=255))


def exported_twin(run: Path, out: Path, level: str = "level_80_int8") -> tuple[ExportResult, ArtifactMetadata]:
    """The export of the fine-tuned trial `level` and its metadata, whose ranges are those that it learned."""
    made = export(run, level=level, target=LENIENT, out=out)
    metadata = read_metadata(load_model(made.artifact))
    assert metadata is not None
    assert metadata.quantization is not None
    assert metadata.quantization.method == "learned"
    return made, metadata
