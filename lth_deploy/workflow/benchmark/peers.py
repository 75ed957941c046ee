"""The engines that a ticket has to beat: the dense model on every other engine, in every precision and shape."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import ArtifactError, DataError, MissingExtraError
from lth_deploy.runtimes import FP32, RUNTIMES
from lth_deploy.workflow.artifact import ModelFile
from lth_deploy.workflow.benchmark.candidates import Candidate, calibration_images, quantize_baseline
from lth_deploy.workflow.benchmark.fixed_shape import Shapes

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.decoders import Photo

log = logging.getLogger(__name__)


def installed_peers() -> tuple[str, ...]:
    """Engines that run dense files only, and are installed."""
    return tuple(name for name in RUNTIMES if not RUNTIMES.get(name).takes_packed and _is_installed(name))


def peer_candidates(
    baseline: Candidate,
    quantized: Candidate | None,
    peers: Sequence[str],
    shapes: Shapes | None,
    precisions_of: Callable[[str], Sequence[str]],
) -> list[Candidate]:
    """The baseline on every peer, in each of its precisions and in INT8; each with the shapes of the file, then fixed.

    A baseline that is quantized already has no other precision. shapes: of all images; None where there are
    several, or the file fixes them itself. precisions_of: by the name of a peer.
    """
    found = []
    for name in peers:
        runtime = RUNTIMES.get(name)
        dense = replace(baseline, engine=name, loaded=_plain(baseline), optional=True)
        precisions = (FP32,) if baseline.file.quantized else precisions_of(name)
        rows = [replace(dense, precision=precision) for precision in precisions]
        rows += [replace(quantized, engine=name, optional=True)] if quantized else []
        for row in rows:
            if shapes is None or not runtime.needs_shapes:
                found.append(row)
            if shapes is not None and runtime.fixes_shapes:
                found.append(replace(row, shapes=shapes))
    return found


def quantized_for_peers(
    baseline: Candidate, folder: Path | None, dataset: "CocoDataset", count: int, workspace: Path
) -> tuple[Candidate | None, list[str]]:
    """The baseline in INT8 where it can be made, else None and the reason: nobody asked for it."""
    try:
        chosen, origin = calibration_images(folder, dataset, count)
        return quantize_baseline(baseline, chosen, origin, workspace), []
    except (DataError, MissingExtraError) as error:
        log.warning("INT8 is left out: %s", error)
        return None, [f"{baseline.name} in INT8: {error}"]


def usable(candidates: Sequence[Candidate], images: "Sequence[Photo]") -> tuple[list[Candidate], list[str]]:
    """The candidates whose engine can run them, and why the others are left out.

    ONNX Runtime has to run every file. Another engine may refuse a file, and then its row is left out. Optional
    candidates are also run on `images`.

    Raises:
        ArtifactError: the engine of the baseline refuses it.
    """
    good, left_out = [], []
    for candidate in candidates:
        try:
            if candidate.engine != "onnxruntime":
                artifact = candidate.load(threads=1)
                for image in images if candidate.optional else ():
                    artifact.predict(image)
        except ArtifactError as error:
            if candidate is candidates[0]:
                raise
            log.warning("left out: %s: %s", candidate, error)
            left_out.append(f"{candidate}: {error}")
            continue
        good.append(candidate)
    return good, left_out


def _is_installed(name: str) -> bool:
    try:
        RUNTIMES.get(name).version()
    except MissingExtraError:
        return False
    return True


def _plain(baseline: Candidate) -> ModelFile:
    """The baseline as an engine takes it that knows no packed files."""
    if baseline.reference is None:
        return baseline.loaded
    return replace(baseline.loaded, path=baseline.reference, packed=False)
