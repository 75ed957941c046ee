"""Values for the inputs of a model that comes without images: seeded noise, of sizes on which the model runs."""

import math
import re
from collections.abc import Callable

import numpy as np
from onnx import ModelProto, ValueInfoProto

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.model.input_sizes import Sizes, candidate_sizes, declared_inputs
from lth_deploy.compiler.model.tensor_types import is_float, numpy_type
from lth_deploy.engine_messages import EngineFailure
from lth_deploy.errors import ArtifactError, UsageError

MAX_INPUT_BYTES = 1 << 30
"""Most bytes of all inputs together that are made for a model: it may declare any size."""

Trial = Callable[[Feeds], EngineFailure | None]
"""Runs the model; why that failed, or None where it did not."""

_SHAPE = re.compile(r"(im|img|image|orig\w*|target|input|origin)_?(shape|sizes?|info|hw)|target_sizes?$", re.IGNORECASE)
_FACTOR = re.compile(r"scale", re.IGNORECASE)
_SCALARS = (
    (re.compile(r"iou", re.I), 0.5),
    (re.compile(r"thres|conf|score", re.I), 0.25),
    (re.compile(r"max|top_?k", re.I), 100),
)


def fitting_sizes(model: ModelProto, given: Sizes, trial: Trial) -> dict[str, tuple[int, ...]]:
    """Sizes of the inputs on which a model runs: the given ones, and usual ones for what is open.

    Args:
        model: as `trial` runs it.
        given: shapes by name of input.
        trial: called with values of each choice of sizes until one runs.

    Raises:
        UsageError: no choice runs, or see `candidate_sizes`. ArtifactError: it does not run, and nothing is open.
    """
    failures: list[EngineFailure] = []
    for sizes in candidate_sizes(model, given):
        failure = trial(trial_feeds(model, sizes, seed=0))
        if failure is None:
            return sizes
        failures.append(failure)
    first = failures[0]
    described = [one for one in declared_inputs(model) if one.name not in given]
    still_open = [one for one in described if one.dims is None or not all(isinstance(dim, int) for dim in one.dims)]
    if not still_open:
        shapes = " ".join(f"--shape {name}={','.join(map(str, shape))}" for name, shape in given.items())
        if given:
            raise UsageError(f"the model does not run with {shapes}: {first.reason}", detail=first.text)
        raise ArtifactError(
            f"the model does not run on inputs of the sizes that it declares: {first.reason}", detail=first.text
        )
    raise UsageError(
        f"the model runs on none of {len(failures)} usual sizes of {', '.join(map(str, still_open))}; give "
        f"{' '.join(one.suggested() for one in still_open)}. With the first sizes: {first.reason}",
        detail=first.text,
    )


def likely_sizes(model: ModelProto, given: Sizes | None = None) -> dict[str, tuple[int, ...]]:
    """The first of the sizes that are worth a try, without trying them; see `candidate_sizes` for what is raised."""
    sizes = next(candidate_sizes(model, given or {}))
    check_input_bytes(model, sizes)
    return sizes


def trial_feeds(model: ModelProto, sizes: Sizes, seed: int) -> dict[str, Array]:
    """A value of the given size for each input of the graph.

    Normal noise for floats, bytes for uint8, 0 and 1 for the rest; but inputs whose name and size say that they hold
    the size of the image, its scale or a threshold get that.

    Raises:
        UsageError: an input is of a type that has no noise, or all of them together are too large.
    """
    check_input_bytes(model, sizes)
    rng = np.random.default_rng(seed)
    plane = next((shape for shape in sizes.values() if len(shape) == 4), None)
    values = {value.name: value for value in model.graph.input}
    return {name: _value(values[name], sizes[name], plane, rng) for name in values if name in sizes}


def _value(
    value: ValueInfoProto, shape: tuple[int, ...], plane: tuple[int, ...] | None, rng: np.random.Generator
) -> Array:
    dtype = _dtype(value.type.tensor_type.elem_type, value.name)
    meant = None if plane is None or len(shape) > 2 else _meant(value.name, shape, plane)
    if meant is not None and dtype.kind in "fiuV":
        return np.broadcast_to(np.asarray(meant), shape).astype(dtype)
    if is_float(dtype):
        return rng.standard_normal(shape).astype(dtype)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise UsageError(f"input '{value.name}' has the type {dtype}; give --images and --decoder")


def check_input_bytes(model: ModelProto, sizes: Sizes) -> None:
    """Refuse inputs of these sizes where they are too large, before any is allocated.

    Raises:
        UsageError: they have more than MAX_INPUT_BYTES.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    total = 0
    for name, size in sizes.items():
        total += math.prod(size) * _dtype(types.get(name, 0), name).itemsize
        if total > MAX_INPUT_BYTES:
            raise UsageError(
                f"input '{name}' has the size {' x '.join(map(str, size))}; inputs of more than {MAX_INPUT_BYTES} "
                "bytes are not made: give a model with a smaller input"
            )


def _dtype(element: int, name: str) -> "np.dtype[np.generic]":
    try:
        return numpy_type(element)
    except KeyError as error:
        raise UsageError(f"input '{name}' has the unknown element type {element}; save the model again") from error


def _meant(name: str, shape: tuple[int, ...], plane: tuple[int, ...]) -> "list[float] | float | None":
    """What an input beside an image holds by its name: height and width, a scale, a threshold; None where unknown."""
    sides = plane[1:3] if plane[3] in (1, 3, 4) and plane[1] not in (1, 3, 4) else plane[2:]
    per_image = shape[-1] if shape else 1
    if _SHAPE.search(name) and per_image in (2, 3):
        return [float(sides[0]), float(sides[1]), 1.0][:per_image]
    if _FACTOR.search(name) and per_image <= 4:
        return 1.0
    if shape in ((), (1,)):
        return next((number for pattern, number in _SCALARS if pattern.search(name)), None)
    return None
