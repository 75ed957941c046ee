"""The gate of the kernels: on real activations every region must compute what its function body computes.

Whole detectors cannot be compared value by value, because rounding lets NMS and top-k swap equals. Regions can:
the stock runtime runs the whole file and shows what reaches each region and what it returns; the kernels then
get the same activations. Where a region rounds sums once, which a stock runtime rounds twice, it is compared
instruction by instruction (`region_steps.py`).
"""

import logging
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError, MissingLibraryError, ParityError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.oracle.exactness import is_exact, output_scales, reads_quantized
from lth_deploy.measure.machine import describe_machine
from lth_deploy.measure.parity import compare_tensors
from lth_deploy.progress import progress
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.workflow.gates.region_steps import Stock, wrong_step

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.extract_region import ExtractedRegion

STEPPED = 2
"""Inputs on which a region is compared instruction by instruction: each takes seconds."""

_ROUNDING = 0.01
"""Of a step: equal bytes, read back as floats."""

_STEPS = 255
"""Of a grid from end to end."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegionCheck:
    """What the gate saw.

    deviation: the largest relative difference of an output of the kernels from the stock runtime's. unreached: regions
    to which no input brought anything, as where nothing was detected; nothing is known of them.
    """

    deviation: float
    unreached: tuple[str, ...] = ()


@dataclass
class _Pair:
    """A region in both engines' hands, and on how many inputs it was compared.

    steps: for each output the scale of its bytes, or None. exact: whether bytes must be equal. from_bytes: whether
    floats may follow from bytes.
    """

    region: "ExtractedRegion"
    kernels: Session
    steps: tuple[float | None, ...]
    exact: bool
    from_bytes: bool
    compared: int = field(default=0)

    @property
    def rounds_once(self) -> bool:
        """Whether rounding may move outputs away from those of a stock runtime."""
        return self.from_bytes and not self.exact


def hold_regions(file: Path, inputs: Iterable[tuple[str, Feeds]], gates: GatesSpec) -> RegionCheck | None:
    """Compare every region of a file with its function body on (name, feeds).

    Floats may differ by `output_difference`. What is made of bytes must be equal; a region that rounds sums once,
    where a stock runtime rounds twice, must be right instruction by instruction, and may differ from end to end by
    `int8_steps` where that is set: a step of floats that follow from bytes is a 255th of what they span. None when
    there is nothing to compare: the file has no regions, or the kernel library was not built.

    Raises:
        ParityError: a region cannot run, or deviates; names the region, what differs and the input.
    """
    from lth_deploy.compiler.artifact.extract_region import extract_regions, with_outputs
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.model.save import save_model

    model = load_model(file)
    regions = extract_regions(model)
    if not regions:
        return None
    try:
        ops_library()
    except MissingLibraryError as error:
        log.warning("the regions of %s were not checked with kernels: %s", file.name, error)
        return None
    worst = 0.0
    with storage.scratch("regions") as folder:
        names = list(dict.fromkeys(name for region in regions for name in (*region.inputs, *region.outputs)))
        types = {name: element for region in regions for name, element in region.types.items()}
        whole = folder / "whole.onnx"
        save_model(with_outputs(model, names, types), whole)
        expected = RUNTIMES.get("onnxruntime").load(whole, threads=1)
        pairs = [_pair(file, region, folder) for region in regions]
        together = None
        with progress(f"{file.name}: comparison of its regions", total=operator.length_hint(inputs) or None) as step:
            for name, feeds in inputs:
                values = dict(zip(names, expected.run(feeds).values(), strict=True))
                worst = max([worst, *(_deviation(file, pair, values, gates, name) for pair in pairs)])
                _hold_steps(file, pairs, values, gates, name, folder)
                together = together or _loaded(file)
                _run_together(file, together, feeds, name)
                step()
    return RegionCheck(worst, _unreached(file, pairs))


def _loaded(file: Path) -> Session:
    """The whole file with the kernels: what stands around its regions may need what only their bodies say."""
    try:
        return RUNTIMES.get("lth_deploy").load(file, threads=1)
    except ArtifactError as error:
        raise ParityError(_cannot_run(file, "the whole model", "any input", error)) from error


def _run_together(file: Path, together: Session, feeds: Feeds, name: str) -> None:
    try:
        together.run(dict(feeds))
    except ArtifactError as error:
        raise ParityError(_cannot_run(file, "the whole model", name, error)) from error


def _pair(file: Path, region: "ExtractedRegion", folder: Path) -> _Pair:
    from lth_deploy.compiler.model.save import save_model

    path = folder / f"{region.name}.onnx"
    save_model(region.model, path)
    try:
        kernels = RUNTIMES.get("lth_deploy").load(path, threads=1)
    except ArtifactError as error:
        raise ParityError(_cannot_run(file, region.name, "any input", error)) from error
    program = region.program
    if program is None:
        return _Pair(region, kernels, (None,) * len(region.outputs), False, False)
    # Without exact products of u8 and s8 the stock runtime's own sums may saturate: equal bytes would be chance.
    exact = is_exact(program) and describe_machine().exact_u8s8
    return _Pair(region, kernels, tuple(output_scales(program)), exact, reads_quantized(program))


def _deviation(file: Path, pair: _Pair, values: Feeds, gates: GatesSpec, name: str) -> float:
    region = pair.region
    given = {one: values[one] for one in region.inputs}
    if not all(value.size for value in given.values()):
        return 0.0  # nothing was found that this stage could work on
    try:
        found = pair.kernels.run(given)
    except ArtifactError as error:
        raise ParityError(_cannot_run(file, region.name, name, error)) from error
    pair.compared += 1
    report = compare_tensors({one: values[one] for one in region.outputs}, found, gates.output_difference, name)
    steps = dict(zip(region.outputs, pair.steps, strict=True))
    allowed: float | None = _ROUNDING
    if pair.rounds_once:
        steps = {one: float(np.ptp(values[one])) / _STEPS if step is None else step for one, step in steps.items()}
        allowed = gates.int8_steps
    floats = [one for one, step in steps.items() if not step]
    if any(report.outputs[one].share < 1.0 for one in floats):
        raise ParityError(_differs(file, region.name, report.describe()))
    for one, step in steps.items():
        if not step:
            continue
        same = one in found and found[one].shape == values[one].shape
        largest = float(np.abs(found[one] - values[one]).max(initial=0.0)) / step if same else float("inf")
        if not largest <= (float(np.finfo(np.float64).max) if allowed is None else allowed):
            limit = "" if allowed is None else f", allowed are {allowed:g}"
            what = f"'{one}' differs by {largest:.3g} steps of its scale on {name}{limit}"
            raise ParityError(_differs(file, region.name, what))
    return max(output.worst_deviation for output in report.outputs.values())


def _hold_steps(file: Path, pairs: list[_Pair], values: Feeds, gates: GatesSpec, name: str, folder: Path) -> None:
    """Compare regions that round sums once instruction by instruction, each on the first inputs that reach it."""
    stock = Stock(describe_machine().exact_u8s8, gates.output_difference)
    for pair in pairs:
        given = {one: values[one] for one in pair.region.inputs}
        if not pair.rounds_once or pair.compared > STEPPED or not all(value.size for value in given.values()):
            continue
        log.info("comparing %s of %s instruction by instruction on %s", pair.region.name, file.name, name)
        try:
            wrong = wrong_step(pair.region, given, folder, stock)
        except ArtifactError as error:
            what = f"{pair.region.name} of {file.name} cannot be checked instruction by instruction on {name}: {error}"
            raise ParityError(f"{what}; {_ADVICE}") from error
        if wrong is not None:
            raise ParityError(_differs(file, pair.region.name, f"{wrong}, on {name}"))


def _unreached(file: Path, pairs: list[_Pair]) -> tuple[str, ...]:
    """The regions that were never compared, with a line in the log for each."""
    found = []
    for pair in pairs:
        if pair.compared:
            continue
        found.append(pair.region.name)
        program = pair.region.program
        kinds = Counter("weight" in vars(step) for step in program.instructions) if program is not None else Counter()
        layers = f" ({kinds[True]} layers)" if kinds else ""
        log.warning(
            "%s%s of %s was not checked: no input of the gate brought it anything, as where nothing is "
            "detected; give images with objects",
            pair.region.name,
            layers,
            file.name,
        )
    return tuple(found)


_ADVICE = "the file was not written, please report this model; with regions: none in the target it can be exported"


def _differs(file: Path, region: str, what: str) -> str:
    return f"{region} of {file.name} computes something else with the kernel library: {what}; {_ADVICE}"


def _cannot_run(file: Path, region: str, name: str, error: ArtifactError) -> str:
    return f"{region} of {file.name} cannot run with the kernel library on {name}: {error}; {_ADVICE}"
