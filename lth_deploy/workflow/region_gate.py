"""The gate of the kernels: on real activations every region must compute what its function body computes.

Whole detectors cannot be compared value by value, because rounding lets NMS and top-k swap equals. Regions can:
the stock runtime runs the whole file and shows what reaches each region and what it returns; the kernels then
get the same activations.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lth_deploy import storage
from lth_deploy.errors import MissingLibraryError, ParityError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.exactness import byte_steps, is_exact, reads_bytes
from lth_deploy.measure.parity import compare_tensors
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.target import GatesSpec
from lth_deploy.workflow.gates import Feeds

if TYPE_CHECKING:
    from lth_deploy.compiler.regions.alone import LoneRegion

_ROUNDING = 0.01
"""Of a step: equal bytes, read back as floats."""

_STEPS = 255
"""Of a grid from end to end."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pair:
    """A region in both engines' hands.

    steps: for each output the scale of its bytes, or None. exact: whether bytes must be equal. from_bytes: whether
    floats may follow from bytes.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernels: Session
    steps: tuple[float | None, ...]
    exact: bool
    from_bytes: bool


def hold_regions(file: Path, inputs: Iterable[tuple[str, Feeds]], gates: GatesSpec) -> float | None:
    """Compare every region of a file with its function body on (name, feeds); the largest relative deviation.

    Floats may differ by `output_difference`. What is made of bytes must be equal; in regions with fused additions,
    which round once where a stock runtime rounds twice, it may differ by `int8_steps`, where a step of floats that
    follow from bytes is a 255th of what they span. None when there is nothing to
    compare: the file has no regions, or the kernel library was not built.

    Raises:
        ParityError: a region deviates by more than `tolerance`; names the region, its output and the input.
    """
    from lth_deploy.compiler.load import load_model
    from lth_deploy.compiler.regions.alone import lone_regions, showing
    from lth_deploy.compiler.save import save_model

    model = load_model(file)
    regions = lone_regions(model)
    if not regions:
        return None
    try:
        ops_library()
    except MissingLibraryError as error:
        log.warning("the regions of %s were not checked with kernels: %s", file.name, error)
        return None
    stock, kernels = RUNTIMES.get("onnxruntime"), RUNTIMES.get("lth_deploy")
    worst = 0.0
    with storage.scratch("regions") as folder:
        names = list(dict.fromkeys(name for region in regions for name in (*region.inputs, *region.outputs)))
        types = {name: element for region in regions for name, element in region.types.items()}
        whole = folder / "whole.onnx"
        save_model(showing(model, names, types), whole)
        expected = stock.load(whole, threads=1)
        pairs = []
        for region in regions:
            path = folder / f"{region.name}.onnx"
            save_model(region.model, path)
            pairs.append(_pair(region, kernels.load(path, threads=1)))
        for name, feeds in inputs:
            values = dict(zip(names, expected.run(feeds).values(), strict=True))
            worst = max([worst, *(_deviation(file, pair, values, gates, name) for pair in pairs)])
    return worst


def _pair(region: "LoneRegion", kernels: Session) -> _Pair:
    program = region.program
    if program is None:
        return _Pair(region.name, region.inputs, region.outputs, kernels, (None,) * len(region.outputs), False, False)
    steps, exact, from_bytes = tuple(byte_steps(program)), is_exact(program), reads_bytes(program)
    return _Pair(region.name, region.inputs, region.outputs, kernels, steps, exact, from_bytes)


def _deviation(file: Path, pair: _Pair, values: Feeds, gates: GatesSpec, name: str) -> float:
    if not all(values[one].size for one in pair.inputs):
        return 0.0  # nothing was found that this stage could work on
    found = pair.kernels.run({one: values[one] for one in pair.inputs})
    report = compare_tensors({one: values[one] for one in pair.outputs}, found, gates.output_difference, name)
    steps = dict(zip(pair.outputs, pair.steps, strict=True))
    if pair.from_bytes and not pair.exact:
        steps = {one: float(np.ptp(values[one])) / _STEPS if step is None else step for one, step in steps.items()}
    floats = [one for one, step in steps.items() if not step]
    if any(report.outputs[one].share < 1.0 for one in floats):
        raise ParityError(_differs(file, pair, report.describe()))
    for one, step in steps.items():
        if not step:
            continue
        same = one in found and found[one].shape == values[one].shape
        largest = float(np.abs(found[one] - values[one]).max(initial=0.0)) / step if same else float("inf")
        allowed = _ROUNDING if pair.exact else gates.int8_steps
        if not largest <= allowed:
            what = f"'{one}' differs by {largest:.3g} steps of its scale on {name}, allowed are {allowed:g}"
            raise ParityError(_differs(file, pair, what))
    return max(output.worst_deviation for output in report.outputs.values())


def _differs(file: Path, pair: _Pair, what: str) -> str:
    return (
        f"{pair.name} of {file.name} computes something else with the kernel library: {what}; the "
        "file was not written, please report this model; with regions: none in the target it can be exported"
    )
