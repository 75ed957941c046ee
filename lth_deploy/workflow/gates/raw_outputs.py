"""Bounds that an exported ONNX file is held to by running it."""

import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ParityError
from lth_deploy.measure.parity import compare_tensors
from lth_deploy.progress import progress
from lth_deploy.runtimes import RUNTIMES

if TYPE_CHECKING:
    from onnx import ModelProto


def tolerance_of(model: "ModelProto", gates: GatesSpec) -> float:
    """How far outputs may be from those of a model: further where it rounds to half precision on the way."""
    from lth_deploy.compiler.artifact.half_weights import speaks_half

    return max(gates.output_difference, gates.half_difference) if speaks_half(model) else gates.output_difference


def tensors_of(outputs: Mapping[str, Any]) -> Arrays:
    """Outputs of any kind as tensors by name: those of a sequence by their place, those of a map by its keys.

    How many there are is a tensor too, so that none that is missing goes unseen.
    """
    found: Arrays = {}
    for name, value in outputs.items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, list | Mapping):
            parts = enumerate(value) if isinstance(value, list) else value.items()
            found[f"number of values in {name}"] = np.asarray(len(value))
            found |= tensors_of({f"{name}[{place}]": part for place, part in parts})
        else:  # a number, a text, or None of an optional value that is absent
            found[name] = np.asarray(repr(value)) if value is None else np.asarray(value)
    return found


def hold_raw_outputs(
    reference: Path, candidate: Path, inputs: Iterable[tuple[str, Feeds]], tolerance: float, fault: str = ""
) -> float:
    """Compare all outputs of two files on the same (name, feeds); return the largest relative deviation.

    fault: what it means where they differ; by default that the candidate is not made of the reference's weights.

    Raises:
        ParityError: an output deviates by more than `tolerance`; names the output and the input.
    """
    engine = RUNTIMES.get("onnxruntime")
    expected, found = engine.load(reference, threads=1), engine.load(candidate, threads=1)
    worst, count = 0.0, 0
    with progress(f"{candidate.name}: comparison of outputs", total=operator.length_hint(inputs) or None) as step:
        for name, feeds in inputs:
            wanted, made = (tensors_of(session.run(dict(feeds))) for session in (expected, found))
            report = compare_tensors(wanted, made, tolerance, name)
            if not report.passed:
                raise ParityError(
                    f"{fault or f'{candidate.name} does not compute what its weights say'}: {report.describe()}; "
                    "the file was not written, please report this model"
                )
            worst = max([worst, *(output.worst_deviation for output in report.outputs.values())])
            count += 1
            step()
    if not count:
        raise ParityError(f"{candidate.name} was compared on no input; give at least one image")
    return worst
