"""Bounds that an exported ONNX file is held to by running it."""

import logging
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError, ParityError
from lth_deploy.measure.parity import ParityReport, compare_tensors
from lth_deploy.progress import progress
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.gates.second_look import SecondLook, second_look

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)


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

    Where they differ, `second_look` says what is compared then. fault: what it means if they still do; by default that
    the candidate is not made of the reference's weights.

    Raises:
        ParityError: an output deviates by more than `tolerance`; names the output and the input.
    """
    engine = RUNTIMES.get("onnxruntime")
    expected, found = engine.load(reference, threads=1), engine.load(candidate, threads=1)
    worst, count, again = 0.0, 0, _Again(reference, candidate)
    with progress(f"{candidate.name}: comparison of outputs", total=operator.length_hint(inputs) or None) as step:
        for name, feeds in inputs:
            wanted, made = (tensors_of(session.run(dict(feeds))) for session in (expected, found))
            report = compare_tensors(wanted, made, tolerance, name)
            if not report.passed:
                report = again.compare(feeds, tolerance, name) or report
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


class _Again:
    """The second comparison, prepared for the first input that needs it."""

    def __init__(self, reference: Path, candidate: Path) -> None:
        self._files = reference, candidate
        self._pair: SecondLook | None = None
        self._prepared = False

    def compare(self, feeds: Feeds, tolerance: float, name: str) -> ParityReport | None:
        """None where it cannot be made, or would not be another one."""
        if not self._prepared:
            self._prepared, self._pair = True, second_look(*self._files)
        if self._pair is None:
            return None
        try:
            wanted, made = (tensors_of(outputs) for outputs in self._pair.run(feeds))
        except ArtifactError as error:
            log.debug("%s is not compared again: %s", self._files[1], error)
            return None
        report = compare_tensors(wanted, made, tolerance, name)
        if report.passed:
            log.info("%s: on %s the outputs agree once both choose and round alike", self._files[1].name, name)
        return report
