"""What `inspect` needs of runs and of shape inference of a model, computed in a child process with limits."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.workflow.limits.limited_process import run_limited

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.model.input_sizes import Sizes

log = logging.getLogger(__name__)


def fitting_sizes(file: Path, given: "Sizes") -> dict[str, tuple[int, ...]]:
    """`random_inputs.fitting_sizes` with limits: it runs the model.

    Raises:
        UsageError: as there. ArtifactError: the model does not run, or not within the limits.
    """
    arguments = {"file": str(file), "given": {name: list(shape) for name, shape in given.items()}}
    found = run_limited(_fitting_sizes, arguments, f"running {file.name} on noise")
    return {str(name): tuple(int(size) for size in sizes) for name, sizes in found.items()}


def inferred_sizes(light: "ModelProto") -> dict[str, list[int]]:
    """`size_inference.inferred_sizes` with limits.

    Raises:
        ArtifactError: it does not come to an end within the limits.
    """
    from lth_deploy.compiler.model.save import save_model

    with storage.scratch("sizes") as folder:
        save_model(light, folder / "light.onnx")
        arguments = {"file": str(folder / "light.onnx")}
        found = run_limited(_inferred_sizes, arguments, "shape inference of the model")
    return {str(name): [int(size) for size in sizes] for name, sizes in found.items()}


def measured_positions(file: Path, sizes: "Sizes") -> dict[str, int]:
    """`mac_count.positions` on noise of these sizes, with limits: it runs the model.

    Raises:
        ArtifactError: the model does not run, or not within the limits.
    """
    arguments = {"file": str(file), "sizes": {name: list(size) for name, size in sizes.items()}}
    found = run_limited(_measured_positions, arguments, f"running {file.name} on noise")
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
