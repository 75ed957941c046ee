"""What runs a model from a stranger while it is exported or inspected, in a child process with limits."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy import storage
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError
from lth_deploy.workflow.gates import raw_outputs, regions
from lth_deploy.workflow.gates.raw_outputs import Feeds
from lth_deploy.workflow.limits.limited_process import limits, run_limited

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.model.input_sizes import Sizes

log = logging.getLogger(__name__)

_TRIALS = 4
"""Runs that all sizes may take that are tried: those on which a model does not run end soon."""

Inputs = Sequence[tuple[str, Feeds]]
Stored = tuple[str, str, list[str]]


def check_runs(file: Path, inputs: Inputs) -> None:
    """Run a model from a stranger, before anything runs it in this process.

    Raises:
        ArtifactError: it does not run, or not within the limits.
    """
    with storage.scratch("feeds") as folder:
        arguments = {"file": str(file), "stored": _stored(inputs, folder)}
        run_limited(_runs, arguments, limits(len(inputs)), f"running {file.name} on {inputs[0][0]}")


def fitting_sizes(file: Path, given: "Sizes") -> dict[str, tuple[int, ...]]:
    """`trial_inputs.fitting_sizes` with limits: it runs the model, before anything runs it in this process.

    Raises:
        UsageError: as there. ArtifactError: the model does not run, or not within the limits.
    """
    arguments = {"file": str(file), "given": {name: list(shape) for name, shape in given.items()}}
    found = run_limited(_fitting_sizes, arguments, limits(_TRIALS), f"running {file.name} on noise")
    return {str(name): tuple(int(size) for size in sizes) for name, sizes in found.items()}


def hold_raw_outputs(reference: Path, candidate: Path, inputs: Inputs, tolerance: float, fault: str = "") -> float:
    """`gates.hold_raw_outputs` with limits.

    Raises:
        ParityError: as there. ArtifactError: a file does not run, or not within the limits.
    """
    with storage.scratch("feeds") as folder:
        arguments = {
            "reference": str(reference),
            "candidate": str(candidate),
            "stored": _stored(inputs, folder),
            "tolerance": tolerance,
            "fault": fault,
        }
        what = f"comparing {candidate.name} with {reference.name} on {len(inputs)} inputs"
        return float(run_limited(_raw_outputs, arguments, limits(2 * len(inputs)), what))


def hold_regions(file: Path, inputs: Inputs, spec: GatesSpec) -> regions.RegionCheck | None:
    """`region_gate.hold_regions` with limits.

    Raises:
        ParityError: as there. ArtifactError: the file does not run, or not within the limits.
    """
    with storage.scratch("feeds") as folder:
        arguments = {
            "file": str(file),
            "stored": _stored(inputs, folder),
            "spec": spec.model_dump(mode="json"),
        }
        what = f"comparing the regions of {file.name} on {len(inputs)} inputs"
        found = run_limited(_regions, arguments, limits(2 * len(inputs)), what)
    return None if found is None else regions.RegionCheck(float(found[0]), tuple(map(str, found[1])))


def inferred_sizes(light: "ModelProto") -> dict[str, list[int]]:
    """`size_inference.inferred_sizes` with limits.

    Raises:
        ArtifactError: it does not come to an end within the limits.
    """
    from lth_deploy.compiler.model.save import save_model

    with storage.scratch("sizes") as folder:
        save_model(light, folder / "light.onnx")
        arguments = {"file": str(folder / "light.onnx")}
        found = run_limited(_inferred_sizes, arguments, limits(), "shape inference of the model")
    return {str(name): [int(size) for size in sizes] for name, sizes in found.items()}


def measured_positions(file: Path, sizes: "Sizes") -> dict[str, int]:
    """`macs.positions` on noise of these sizes, with limits: it runs the model.

    Raises:
        ArtifactError: the model does not run, or not within the limits.
    """
    arguments = {"file": str(file), "sizes": {name: list(size) for name, size in sizes.items()}}
    found = run_limited(_measured_positions, arguments, limits(), f"running {file.name} on noise")
    return {str(name): int(times) for name, times in found.items()}


def _inferred_sizes(file: str) -> dict[str, list[int]]:
    import onnx

    from lth_deploy.compiler.planning import size_inference

    try:
        return size_inference.inferred_sizes(onnx.load(file, load_external_data=False))
    except MemoryError:
        raise
    except Exception as error:  # onnx raises errors of several kinds, also for valid models
        log.debug("shape inference fails: %s", error)
        return {}


def _measured_positions(file: str, sizes: dict[str, list[int]]) -> dict[str, int]:
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.importing.imported import normalize
    from lth_deploy.compiler.model.random_inputs import trial_feeds
    from lth_deploy.compiler.planning.mac_count import positions

    model = load_model(Path(file))
    return positions(normalize(model), trial_feeds(model, {name: tuple(size) for name, size in sizes.items()}, seed=0))


def _fitting_sizes(file: str, given: dict[str, list[int]]) -> dict[str, list[int]]:
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.ort_session import trial_of
    from lth_deploy.compiler.model.random_inputs import fitting_sizes

    model = load_model(Path(file))
    sizes = fitting_sizes(model, {name: tuple(shape) for name, shape in given.items()}, trial_of(model))
    return {name: list(size) for name, size in sizes.items()}


def _raw_outputs(reference: str, candidate: str, stored: list[Stored], tolerance: float, fault: str) -> float:
    return raw_outputs.hold_raw_outputs(Path(reference), Path(candidate), _read(stored), tolerance, fault)


def _regions(file: str, stored: list[Stored], spec: object) -> tuple[float, tuple[str, ...]] | None:
    check = regions.hold_regions(Path(file), _read(stored), GatesSpec.model_validate(spec))
    return None if check is None else (check.deviation, check.unreached)


def _runs(file: str, stored: list[Stored]) -> int:
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.ort_session import session, short_reason

    running = session(load_model(Path(file)))
    try:
        return sum(len(running.run(None, dict(feeds))) for _, feeds in _read(stored))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ArtifactError(f"the model does not run in ONNX Runtime: {short_reason(error)}") from error


def _stored(inputs: Inputs, folder: Path) -> list[Stored]:
    """Write the feeds into files: the name of each, its path, and the names of its inputs, which are any text."""
    found = []
    for number, (name, feeds) in enumerate(inputs):
        path = folder / f"{number}.npz"
        np.savez(path, *feeds.values())
        found.append((name, str(path), list(feeds)))
    return found


def _read(stored: list[Stored]) -> Iterator[tuple[str, Feeds]]:
    for name, path, inputs in stored:
        with np.load(path, allow_pickle=False) as arrays:
            yield name, {one: arrays[f"arr_{place}"] for place, one in enumerate(inputs)}
