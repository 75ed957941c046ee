"""What is measured on hosts: candidates, the files that a board loads for each, and which of other engines it has."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.boards.board import Board
from lth_deploy.boards.engines import ONNXRUNTIME, Opened, engine_files
from lth_deploy.errors import ArtifactError, BoardError, LinkLostError, MissingExtraError, UsageError
from lth_deploy.run_clock import TimedRun
from lth_deploy.runtimes import FP32, RUNTIMES
from lth_deploy.runtimes.ncnn import converted, read_interface
from lth_deploy.workflow.benchmark.candidates import (
    KERNELS,
    Candidate,
    calibration_images,
    collect_candidates,
    quantize_baseline,
)
from lth_deploy.workflow.benchmark.fixed_shape import fixed_shapes
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.peers import peer_candidates
from lth_deploy.workflow.boards.images_there import ImagesThere, hold_planners
from lth_deploy.workflow.boards.remote_session import RemoteArtifact, RemoteSession
from lth_deploy.workflow.gates.class_names import hold_control_classes

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.decoders import Photo

ENGINES = ("onnxruntime", KERNELS)
"""What runs on every board: stock ONNX Runtime, and with the kernels."""

PEERS = tuple(name for name in RUNTIMES if not RUNTIMES.get(name).takes_packed)
"""What runs there where the board has it, or can be given it."""

_FLOAT = 1
"""ONNX's number of float32."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placed:
    """A candidate, and what a board loads for it.

    files: by their SHA-256, the model and then its weights where they are a file of their own. inputs, outputs: see
    `Opened`. ranks: of outputs, for an engine that knows no batches.
    """

    candidate: Candidate
    files: Mapping[str, Path]
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()
    ranks: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def is_peer(self) -> bool:
        """Whether its engine is one that a board may lack."""
        return self.candidate.engine in PEERS

    def session(self, board: Board, threads: int, images: ImagesThere | None = None) -> RemoteArtifact:
        """A session there. images: that the board reads itself."""
        model, *weights = self.files
        engine = self.candidate.engine if self.is_peer else ONNXRUNTIME
        kernels = self.candidate.engine == KERNELS
        opened = Opened(model, kernels, threads, engine, "".join(weights), self.inputs, self.outputs)
        return RemoteArtifact(self.candidate.loaded, RemoteSession(board, opened, self.ranks), images)


def board_candidates(
    artifacts: Sequence[Path], baseline: Path | None, dataset: "CocoDataset", options: BenchmarkOptions, workspace: Path
) -> list[Candidate]:
    """The dense baseline, the artifacts with and without kernels, the baseline in INT8 where that is asked for.

    Then both on other engines: on all that boards can have, or on those that are named.

    Raises:
        UsageError: the first engine is one that boards may lack, or a shape is given that no engine fixes; or boards
            are to read images that a decoder of the user's own prepares.
    """
    named = options.engines or (*ENGINES, *PEERS)
    peers = tuple(engine for engine in named if not RUNTIMES.get(engine).takes_packed)
    engines = tuple(engine for engine in named if engine not in peers)
    if named[0] in peers:
        raise UsageError(
            f"--engine {named[0]}: a host may lack it; there the first engine, on which the baseline runs, is "
            f"{' or '.join(ENGINES)}"
        )
    if options.shapes is not None and not peers:
        raise UsageError(f"--shape: none of the engines fixes shapes; add {' or '.join(PEERS)}, or leave it out")
    found = collect_candidates(artifacts, baseline, engines, options.decoder, workspace, verify=options.verify)
    if options.boards is not None and options.boards.read_images == "board":
        hold_planners([candidate.file for candidate in found])
    for candidate in found[1:]:
        hold_control_classes(candidate.file, found[0].file)
    quantized = None
    if options.int8:
        calibration = calibration_images(options.calibration_folder, dataset, options.calibration)
        quantized = quantize_baseline(found[0], *calibration, workspace)
        found.append(quantized)
    shapes = fixed_shapes(found[0].file, dataset, options.shapes) if peers else None
    # Whether a board computes in bf16 is not known here.
    return [*found, *peer_candidates(found[0], quantized, peers, shapes, lambda _: (FP32,))]


def place(candidates: Sequence[Candidate], workspace: Path) -> tuple[list[Placed], list[str]]:
    """The files for each candidate, and why some are left out: another engine's converter refuses them."""
    found, left_out = list[Placed](), list[str]()
    for number, candidate in enumerate(candidates):
        try:
            found.append(_placed(candidate, workspace / f"ncnn-{number}"))
        except (ArtifactError, MissingExtraError) as error:
            if not candidate.optional:
                raise
            log.warning("left out: %s: %s", candidate, error)
            left_out.append(f"{candidate}: {error}")
    return found, left_out


def available(
    board: Board, placed: Sequence[Placed], images: "Sequence[Photo]", threads: int, ncnn_library: Path | None
) -> tuple[list[Placed], list[str]]:
    """Those that the board can run, and why others are left out there; every one on another engine runs on `images`.

    Raises:
        LinkLostError: the board is gone.
    """
    left_out: dict[str, str] = {}
    engines: dict[str, dict[str, Path]] = {}
    for one in placed:
        if one.is_peer:
            engines.setdefault(one.candidate.engine, {}).update(one.files)
    for engine, models in engines.items():
        try:
            board.add_engine(engine_files(engine, board.processor or "", ncnn_library), models)
        except LinkLostError:
            raise
        except BoardError as error:
            left_out[engine] = f"{engine} is left out: {error}"
            log.warning("%s", left_out[engine])
    there = [one for one in placed if one.candidate.engine not in left_out]
    found, refused = list[Placed](), list[str]()
    for one in there:
        try:
            for image in images if one.is_peer else ():
                one.session(board, threads).predict(image)
        except ArtifactError as error:
            log.warning("left out: %s: %s", one.candidate, error)
            refused.append(f"{one.candidate}: {error}")
            continue
        found.append(one)
    return found, [*left_out.values(), *refused]


def _placed(candidate: Candidate, folder: Path) -> Placed:
    path = candidate.loaded.path
    if candidate.engine == "ncnn":
        interface = read_interface(path, candidate.shapes or {})
        folder.mkdir()
        with TimedRun():
            layers = converted(path, interface.inputs, folder)
        outputs = tuple((name, _FLOAT) for name in interface.outputs)
        files = _by_digest(layers, layers.with_suffix(".bin"))
        return Placed(candidate, files, tuple(interface.inputs.items()), outputs, interface.outputs)
    if candidate.engine in PEERS:
        shapes = tuple((name, tuple(shape)) for name, shape in (candidate.shapes or {}).items())
        return Placed(candidate, _by_digest(path), shapes, _outputs_of(path))
    return Placed(candidate, _by_digest(path))


def _by_digest(*files: Path) -> dict[str, Path]:
    return {storage.sha256(file): file for file in files}


def _outputs_of(path: Path) -> tuple[tuple[str, int], ...]:
    """Outputs of an ONNX file, with ONNX's numbers of their types."""
    from lth_deploy.compiler.artifact.load import load_model

    return tuple((value.name, int(value.type.tensor_type.elem_type)) for value in load_model(path).graph.output)
