"""What tensors hold on calibration images: their extremes, and some of their values, taken inside the running model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.model.normalized_model import tensor_of
from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.compiler.model.traverse import unused_name, used_names

_FROM_AN_IMAGE = 512
"""Values of a tensor that are taken from an image, at even distances; up to twice as many are."""


@dataclass(frozen=True)
class Sample:
    """low, high: extremes over all images, with 0 between them. values: float32 [N], some of all, extremes included."""

    low: float
    high: float
    values: Array


def sampled(model: ModelProto, names: Sequence[str], feeds: Iterable[Feeds]) -> dict[str, Sample]:
    """A sample of each tensor of the main graph.

    Raises:
        ArtifactError: the model does not run on the feeds.
    """
    shown, outputs = _showing(model, names)
    running = session(shown)
    found: dict[str, list[Array]] = {name: [] for name in names}
    for feed in feeds:
        made = run(running, outputs, feed)
        for name, output in zip(names, outputs, strict=True):
            found[name].append(made[output][np.isfinite(made[output])])
    return {name: _sample(np.concatenate(parts)) for name, parts in found.items()}


def _sample(values: Array) -> Sample:
    return Sample(min(0.0, float(values.min())), max(0.0, float(values.max())), values)


def _showing(model: ModelProto, names: Sequence[str]) -> tuple[ModelProto, list[str]]:
    """A model that returns some values of each tensor only, so that no activation is kept whole; and their names."""
    shown = ModelProto()
    shown.CopyFrom(model)
    taken = used_names(shown)
    constants = {key: unused_name(f"lth_deploy.sample.{key}", taken) for key in _CONSTANTS}
    shown.graph.initializer.extend(tensor_of(_CONSTANTS[key], name) for key, name in constants.items())
    outputs = []
    for number, name in enumerate(names):
        prefix = unused_name(f"lth_deploy.sample.{number}", taken)
        nodes = _sampling(name, prefix, constants)
        shown.graph.node.extend(nodes)
        outputs.append(nodes[-1].output[0])
    return with_outputs(shown, outputs), outputs


_CONSTANTS: dict[str, Array] = {
    "flat": np.array([-1], np.int64),
    "start": np.array([0], np.int64),
    "end": np.array([np.iinfo(np.int64).max], np.int64),
    "one": np.array([1], np.int64),
    "two": np.array([2], np.int64),
    "share": np.array([2 * _FROM_AN_IMAGE], np.int64),
    "nothing": np.array([0.0], np.float32),
}


def _sampling(name: str, prefix: str, constants: dict[str, str]) -> list[NodeProto]:
    """Extremes and every n-th value. The step is odd, as even ones would meet few columns of a plane.

    A 0 is added, which every grid holds anyway, since a tensor may be empty on some image.
    """

    def make(operator: str, output: str, *inputs: str, **attributes: Any) -> NodeProto:
        names = [constants.get(key, f"{prefix}.{key}") for key in inputs]
        return helper.make_node(operator, names, [f"{prefix}.{output}"], **attributes)

    first = make("Reshape", "row", "row", "flat")
    first.input[0] = name
    return [
        first,
        make("Concat", "all", "row", "nothing", axis=0),
        make("Shape", "size", "all"),
        make("Div", "quotient", "size", "share"),
        make("Mul", "even", "quotient", "two"),
        make("Add", "step", "even", "one"),
        make("Slice", "some", "all", "start", "end", "start", "step"),
        make("ReduceMin", "least", "all", keepdims=1),
        make("ReduceMax", "most", "all", keepdims=1),
        make("Concat", "sample", "least", "most", "some", axis=0),
    ]
