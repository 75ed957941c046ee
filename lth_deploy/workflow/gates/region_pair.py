"""One region, run by the kernels on the activations that reach it, and compared with what a stock runtime returns."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError, GateError, ParityError
from lth_deploy.kernels.oracle.exactness import is_exact, output_scales, reads_quantized
from lth_deploy.measure.machine import describe_machine
from lth_deploy.measure.parity import ParityReport, compare_tensors
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.workflow.gates.region_steps import SteppedRegion, Stock
from lth_deploy.workflow.gates.rounding import judge

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.extract_region import ExtractedRegion

STEPPED = 2
"""Inputs on which a region is compared instruction by instruction: each takes seconds."""

_ROUNDING = 0.01
"""Of a step: equal quantized values, read back as floats."""

_STEPS = 255
"""Of a grid from end to end."""

_ADVICE = "the file was not written, please report this model; with regions: none in the target it can be exported"

log = logging.getLogger(__name__)


@dataclass
class RegionPair:
    """A region with a session of the kernels, and on how many inputs both runtimes were compared.

    file: the model's, for messages. folder: for files that nobody keeps. steps: for each output the scale of its
    quantized values, or None. exact: whether quantized values must be equal. from_bytes: whether floats may follow from
    quantized values. by_ap: whether AP says what rounding to bf16 costs. judged: on how many inputs floats were beyond
    the bound. stepped: the region as it is compared instruction by instruction, once it was.
    """

    file: Path
    region: "ExtractedRegion"
    kernels: Session
    folder: Path
    steps: tuple[float | None, ...]
    exact: bool
    from_bytes: bool
    by_ap: bool = False
    compared: int = field(default=0)
    judged: int = field(default=0)
    stepped: SteppedRegion | None = None

    @property
    def rounds_once(self) -> bool:
        """Whether rounding may move outputs away from those of a stock runtime."""
        return self.from_bytes and not self.exact

    def compare(self, values: Feeds, gates: GatesSpec, name: str) -> float:
        """The largest relative difference of an output, on the activations of the input `name`.

        values: what a stock runtime computed, by name; the region's inputs and outputs are among them. Nothing is
        compared where nothing reaches the region.

        Raises:
            ParityError: the region cannot run, or deviates. GateError: see `hold_regions`.
        """
        if not self._reached(values):
            return 0.0
        try:
            found = self.kernels.run({one: values[one] for one in self.region.inputs})
        except ArtifactError as error:
            raise cannot_run(self.file, self.region.name, name, error) from error
        self.compared += 1
        report = compare_tensors({one: values[one] for one in self.region.outputs}, found, self._tolerance(gates), name)
        steps = self._steps_of(values)
        if any(report.outputs[one].share < 1.0 for one, step in steps.items() if not step):
            self._hold_rounding(values, found, report, gates, name)
        allowed = gates.int8_steps if self.rounds_once else _ROUNDING
        for one, step in steps.items():
            if step:
                self._hold_step(one, found, values[one], step, allowed, name)
        return max(output.worst_deviation for output in report.outputs.values())

    def compare_steps(self, values: Feeds, gates: GatesSpec, name: str) -> None:
        """Compare instruction by instruction where sums are rounded once, on the first inputs that reach the region.

        Raises:
            ParityError: an instruction deviates, or cannot be checked.
        """
        if not self.rounds_once or self.compared > STEPPED or not self._reached(values):
            return
        log.info("comparing %s of %s instruction by instruction on %s", self.region.name, self.file.name, name)
        given = {one: values[one] for one in self.region.inputs}
        try:
            wrong = self._by_steps(gates).wrong_step(given)
        except ArtifactError as error:
            region = f"{self.region.name} of {self.file.name}"
            what = f"{region} cannot be checked instruction by instruction on {name}: {error}"
            raise ParityError(f"{what}; {_ADVICE}") from error
        if wrong is not None:
            raise self._differs(f"{wrong}, on {name}")

    def _tolerance(self, gates: GatesSpec) -> float:
        program = self.region.program
        rounds = program is not None and bool(program.bf16_weights)
        return max(gates.bf16_difference, gates.output_difference) if rounds else gates.output_difference

    def _reached(self, values: Feeds) -> bool:
        """Whether each input has elements: a stage behind a detection has none where nothing was detected."""
        return all(values[one].size for one in self.region.inputs)

    def _by_steps(self, gates: GatesSpec) -> SteppedRegion:
        stock = Stock(describe_machine().exact_u8s8, gates.output_difference)
        self.stepped = self.stepped or SteppedRegion(self.region, self.folder, stock)
        return self.stepped

    def _hold_rounding(self, values: Feeds, found: Arrays, report: ParityReport, gates: GatesSpec, name: str) -> None:
        """Floats that differ by more than the bound must differ by rounding that the network enlarges."""
        finite = all(np.isfinite(output.worst_deviation) for output in report.outputs.values())
        program = self.region.program
        if program is None or not finite:
            raise self._differs(report.describe())
        if program.bf16_weights:
            self._hold_bf16(values, report, gates, name)
            return
        log.info("%s on %s: %s; comparing with double precision", self.region.name, name, report.describe())
        given, expected = ({one: values[one] for one in names} for names in (self.region.inputs, self.region.outputs))
        self.judged += 1
        bound, by_steps = gates.output_difference, self.judged <= STEPPED
        try:
            verdict = judge(self._by_steps(gates), given, expected, found, bound, by_steps=by_steps)
        except ArtifactError as error:
            raise self._differs(
                f"{report.describe()}, and it cannot be compared with double precision: {error}"
            ) from error
        if not verdict.right:
            raise self._differs(f"{report.describe()}; {verdict.text}")
        log.info("%s on %s: %s, so this is rounding", self.region.name, name, verdict.text)

    def _hold_bf16(self, values: Feeds, report: ParityReport, gates: GatesSpec, name: str) -> None:
        """Floats beyond the bound must be so by rounding to bf16, and what that costs be known."""
        self.judged += 1
        given = {one: values[one] for one in self.region.inputs}
        try:
            wrong = self._by_steps(gates).wrong_step(given) if self.judged <= STEPPED else None
        except ArtifactError as error:
            raise self._differs(
                f"{report.describe()}, and it cannot be checked instruction by instruction: {error}"
            ) from error
        if wrong is not None:
            raise self._differs(f"{report.describe()}; {wrong}")
        said = (
            f"rounding to bf16 moves what {self.region.name} of {self.file.name} returns by more than the allowed "
            f"{gates.bf16_difference:g} (gates.bf16_difference): {report.describe()}"
        )
        if not self.by_ap:
            raise GateError(
                f"{said}. Its instructions are right, so this model enlarges rounding: give --data and --images, so "
                "that AP decides, allow more in the target, or export with --values fp16. Nothing was written"
            )
        if self.judged == 1:
            log.info("%s; AP says what that costs", said)

    def _steps_of(self, values: Feeds) -> dict[str, float | None]:
        """The step of each output, None of floats; floats behind a sum rounded once take steps of what they span."""
        steps = dict(zip(self.region.outputs, self.steps, strict=True))
        if not self.rounds_once:
            return steps
        return {one: float(np.ptp(values[one])) / _STEPS if step is None else step for one, step in steps.items()}

    def _hold_step(
        self, output: str, found: Feeds, expected: np.ndarray, step: float, allowed: float | None, name: str
    ) -> None:
        same = output in found and found[output].shape == expected.shape
        largest = float(np.abs(found[output] - expected).max(initial=0.0)) / step if same else float("inf")
        if not largest <= (float(np.finfo(np.float64).max) if allowed is None else allowed):
            limit = "" if allowed is None else f", allowed are {allowed:g}"
            raise self._differs(f"'{output}' differs by {largest:.3g} steps of its scale on {name}{limit}")

    def _differs(self, what: str) -> ParityError:
        region = f"{self.region.name} of {self.file.name}"
        return ParityError(f"{region} computes something else with the kernel library: {what}; {_ADVICE}")


def region_pair(file: Path, region: "ExtractedRegion", folder: Path, *, by_ap: bool = False) -> RegionPair:
    """A region of `file`, loaded with the kernels. folder: for files that nobody keeps. by_ap: as of `RegionPair`.

    Raises:
        ParityError: the kernels refuse the region.
    """
    from lth_deploy.compiler.model.save import save_model

    path = folder / f"{region.name}.onnx"
    save_model(region.model, path)
    try:
        kernels = RUNTIMES.get("lth_deploy").load(path, threads=1)
    except ArtifactError as error:
        raise cannot_run(file, region.name, "any input", error) from error
    program = region.program
    if program is None:
        return RegionPair(file, region, kernels, folder, (None,) * len(region.outputs), False, False, by_ap)
    # Without exact products of u8 and s8 the stock runtime's own sums may saturate: equal values would be chance.
    exact = is_exact(program) and describe_machine().exact_u8s8
    scales, from_bytes = tuple(output_scales(program)), reads_quantized(program)
    return RegionPair(file, region, kernels, folder, scales, exact, from_bytes, by_ap)


def cannot_run(file: Path, what: str, name: str, error: ArtifactError) -> ParityError:
    """The error of a region, or of the whole model, that the kernels cannot run on the input `name`."""
    return ParityError(f"{what} of {file.name} cannot run with the kernel library on {name}: {error}; {_ADVICE}")
