"""What a benchmark measures: the dense baseline, its INT8 form and the artifacts, each on every engine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import MissingLibraryError, UsageError
from lth_deploy.measure.results import RowKind
from lth_deploy.runtimes import FP32, RUNTIMES
from lth_deploy.workflow.artifact import (
    Artifact,
    ModelFile,
    find_artifact,
    in_one_file,
    read_model_file,
    write_dense_twin,
)
from lth_deploy.workflow.benchmark.fixed_shape import Shapes, shape_text
from lth_deploy.workflow.verify.export_record import check_control

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset

log = logging.getLogger(__name__)

KERNELS = "lth_deploy"
"""The engine that has the kernel library."""


@dataclass(frozen=True)
class Candidate:
    """One file on one engine.

    file: as users have it. loaded: what the engine is given, the dense twin where it cannot take the file.
    reference: the same weights in plain ONNX, for the check of outputs. precision: that the engine computes
    an fp32 file in. shapes: of the inputs, where the engine is fixed to them. optional: left out, with the
    reason, where its engine fails.
    """

    name: str
    kind: RowKind
    file: ModelFile
    loaded: ModelFile
    engine: str
    reference: Path | None = None
    notes: list[str] = field(default_factory=list)
    precision: str = FP32
    shapes: Shapes | None = None
    optional: bool = False

    @property
    def is_dense_engine(self) -> bool:
        """Whether it is the dense model, in whatever precision, on an engine that is not ours."""
        return self.kind in ("dense", "int8") and self.engine != KERNELS

    @property
    def values(self) -> str:
        """In what it computes: int8 for a quantized file, else the precision of the engine."""
        return "int8" if self.file.quantized else self.precision

    def load(self, threads: int) -> Artifact:
        """A session.

        Raises:
            ArtifactError: the engine refuses the file.
        """
        runtime = RUNTIMES.get(self.engine)
        session = runtime.load(self.loaded.path, threads=threads, precision=self.precision, shapes=self.shapes)
        return Artifact(self.loaded, session)

    def __str__(self) -> str:
        fixed = f" {shape_text(self.shapes)}" if self.shapes else ""
        return f"{self.name} on {self.engine} {self.values}{fixed}"


def default_engines() -> tuple[str, ...]:
    """Stock ONNX Runtime, and beside it the kernels where their library was built."""
    from lth_deploy.kernels import ops_library

    try:
        ops_library()
    except MissingLibraryError as error:
        log.warning("only stock ONNX Runtime is measured: %s", error)
        return ("onnxruntime",)
    return ("onnxruntime", KERNELS)


def collect_candidates(
    artifacts: Sequence[Path],
    baseline: Path | None,
    engines: Sequence[str],
    decoder: str | None,
    workspace: Path,
    *,
    verify: bool = False,
) -> list[Candidate]:
    """All candidates without INT8; the first is the baseline on the first engine.

    Without `baseline` it is the dense.onnx beside the first artifact, or else that artifact's dense twin.

    Raises:
        UsageError: no artifacts, an unknown engine or decoder, or a file given twice.
        ArtifactError: a damaged file.
    """
    if not artifacts or not engines:
        raise UsageError("benchmark: give at least one artifact and one engine")
    runtimes = [RUNTIMES.get(engine) for engine in engines]
    files = [read_model_file(find_artifact(path), decoder, verify=verify) for path in artifacts]
    base, base_notes = _baseline(files[0], baseline, decoder, workspace, verify)
    others = [file for file in files if file.path.resolve() != base.path.resolve()]
    if len({file.path.resolve() for file in others}) != len(others):
        raise UsageError("benchmark: an artifact is given twice; name each file once")
    names = _names([base, *others])
    found = []
    for number, original in enumerate([base, *others]):
        file = in_one_file(original, workspace / f"one-file-{number}")
        twin = write_dense_twin(file, workspace / f"twin-{number}.onnx") if file.packed else None
        for engine, runtime in zip(engines, runtimes, strict=True):
            if engine == KERNELS and engine != engines[0] and not file.regions:
                continue  # it would be the row of stock ONNX Runtime once more
            needs_twin = twin is not None and not runtime.takes_packed
            loaded = replace(file, path=twin, packed=False) if twin is not None and needs_twin else file
            notes = list(base_notes) if number == 0 else []
            notes += (
                ["its external data were put into one file, whose bytes and digest are given"] if file.origin else []
            )
            notes += [f"{engine} takes no packed files: it ran the dense twin"] if needs_twin else []
            kind: RowKind = "dense" if number == 0 else _kind(file)
            found.append(Candidate(names[number], kind, file, loaded, engine, twin, notes))
    return found


def calibration_images(folder: Path | None, dataset: "CocoDataset", count: int) -> tuple[list[Path], str]:
    """`count` image files to calibrate on, spread over `folder`, and in words what they are.

    Without a folder they are the first images of the benchmark itself, which favors the quantized row.

    Raises:
        DataError: the folder has no images.
    """
    from lth_deploy.data.images import image_files

    if folder is None:
        chosen = [record.path for record in dataset.subset(count).images]
        return chosen, f"the {len(chosen)} first images of the benchmarked data set itself, in its favor"
    files = image_files(folder)
    chosen = files[:: max(1, len(files) // count)][:count]
    return chosen, f"{len(chosen)} images of {folder.name}"


def quantize_baseline(base: Candidate, images: list[Path], origin: str, workspace: Path) -> Candidate:
    """The baseline in static INT8, calibrated on `images`; `origin` describes them for a note.

    Raises:
        MissingExtraError, DataError, ArtifactError: see `quantize_dense`.
    """
    from lth_deploy.compiler.quantization.ort_static import quantize_dense
    from lth_deploy.data.images import read_image
    from lth_deploy.measure.machine import describe_machine

    plain = base.reference or base.file.path
    reduce_range = not describe_machine().exact_u8s8
    feeds = (base.file.decoder.prepare(read_image(path))[0] for path in images)
    out = workspace / f"{base.name}-int8.onnx"
    # As ONNX Runtime's quantizer leaves it by itself: a layer whose output is float runs in floats there.
    report = quantize_dense(plain, feeds, out, reduce_range=reduce_range, float_outputs=False)
    notes = [
        f"static QDQ, per channel, ranges from {origin} ({report.images} usable); {report.weight_layers} weight layers"
    ]
    notes += ["7-bit weights, because this CPU has no VNNI"] if reduce_range else []
    file = replace(base.file, path=out, packed=False, quantized=True)
    return Candidate(f"{base.name} int8", "int8", file, file, "onnxruntime", None, notes)


def _baseline(
    first: ModelFile, given: Path | None, decoder: str | None, workspace: Path, verify: bool
) -> tuple[ModelFile, list[str]]:
    beside = first.path.parent / "dense.onnx"
    if given is None and beside.is_file():
        given = beside
        check_control(first.path, first.metadata.control_sha256 if first.metadata else None, beside, verify=verify)
    if given is not None:
        # A dense file may come without metadata; then its outputs are decoded as the artifact's metadata say.
        named = first.metadata.decoder if first.metadata is not None else None
        base = read_model_file(
            given, decoder or (named if _has_no_metadata(given) else None), verify=verify and given == beside
        )
        return (base if base.class_names else replace(base, class_names=first.class_names)), []
    if not first.packed:
        return first, []
    log.info("no dense baseline given: comparing with the dense twin of %s", first.path)
    twin = write_dense_twin(first, workspace / f"{first.path.stem}-dense.onnx")
    return replace(first, path=twin, packed=False, regions=0), ["the artifact's own weights in plain ONNX"]


def _has_no_metadata(path: Path) -> bool:
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.artifact.metadata import read_metadata

    return read_metadata(load_model(path)) is None


def _kind(file: ModelFile) -> RowKind:
    if file.packed:
        return "packed"
    if file.metadata is None:
        return "foreign"
    return "coo" if file.metadata.format == "coo" else "dense"


def _names(files: Sequence[ModelFile]) -> list[str]:
    """File stems, with the folder in front where two are equal."""
    stems = [file.path.stem for file in files]
    return [
        stem if stems.count(stem) == 1 else f"{file.path.resolve().parent.name}/{stem}"
        for stem, file in zip(stems, files, strict=True)
    ]
