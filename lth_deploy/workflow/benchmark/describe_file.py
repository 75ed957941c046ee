"""What does not depend on the engine that runs a file: its identity, bytes and zeros."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.measure.size import file_bytes
from lth_deploy.workflow.benchmark.candidates import Candidate
from lth_deploy.workflow.inspect.weight_bytes import WeightFacts, weight_facts

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

UNKNOWN_MACS = "its layers are not those of the baseline and it has no metadata: zero MACs are unknown"


@dataclass(frozen=True)
class FileDescription:
    """path: the file as users have it. bytes_zstd: bytes after zstd at level 19."""

    path: str
    sha256: str
    bytes: int
    bytes_zstd: int
    weights: WeightFacts
    notes: list[str]


def describe_file(candidate: Candidate, positions: Mapping[str, int]) -> FileDescription:
    """Describe the file of a candidate; compressing it takes seconds. positions: see `weight_positions`."""
    path, metadata = candidate.file.path, candidate.file.metadata
    raw, compressed = file_bytes(path)
    weights = weight_facts(path, dict(metadata.positions if metadata and metadata.positions else positions))
    return FileDescription(
        path=str(candidate.file.origin or path),
        sha256=storage.sha256(path),
        bytes=raw,
        bytes_zstd=compressed,
        weights=weights,
        notes=[UNKNOWN_MACS] if weights.zero_macs is None and candidate.kind != "int8" else [],
    )


def weight_positions(candidates: Sequence[Candidate], dataset: "CocoDataset") -> dict[str, int]:
    """How often each weight is multiplied for one image: from a file's metadata, else counted in the baseline."""
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.importing.imported import normalize
    from lth_deploy.compiler.planning.mac_count import positions
    from lth_deploy.data.images import read_record

    for candidate in candidates:
        if candidate.file.metadata is not None and candidate.file.metadata.positions:
            return dict(candidate.file.metadata.positions)
    base = candidates[0].file
    feeds, _ = base.decoder.prepare(read_record(dataset.images[0]))
    return positions(normalize(load_model(base.path)), feeds)
