"""The gate of the kernels: on real activations every region must compute what its function body computes.

Whole detectors cannot be compared value by value, because rounding lets NMS and top-k swap equals. Regions can:
the stock runtime runs the whole file and shows what reaches each region and what it returns; the kernels then
get the same activations.
"""

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.errors import MissingLibraryError, ParityError
from lth_deploy.kernels import ops_library
from lth_deploy.measure.parity import compare_tensors
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.workflow.gates import Feeds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pair:
    """A region in both engines' hands."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernels: Session


def hold_regions(file: Path, inputs: Iterable[tuple[str, Feeds]], tolerance: float) -> float | None:
    """Compare every region of a file with its function body on (name, feeds); the largest relative deviation.

    None when there is nothing to compare: the file has no regions, or the kernel library was not built.

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
    with tempfile.TemporaryDirectory(prefix="lth-regions-") as folder:
        names = list(dict.fromkeys(name for region in regions for name in (*region.inputs, *region.outputs)))
        whole = Path(folder) / "whole.onnx"
        save_model(showing(model, names), whole)
        expected = stock.load(whole, threads=1)
        pairs = []
        for region in regions:
            path = Path(folder) / f"{region.name}.onnx"
            save_model(region.model, path)
            pairs.append(_Pair(region.name, region.inputs, region.outputs, kernels.load(path, threads=1)))
        for name, feeds in inputs:
            values = dict(zip(names, expected.run(feeds).values(), strict=True))
            worst = max([worst, *(_deviation(file, pair, values, tolerance, name) for pair in pairs)])
    return worst


def _deviation(file: Path, pair: _Pair, values: Feeds, tolerance: float, name: str) -> float:
    if not all(values[one].size for one in pair.inputs):
        return 0.0  # nothing was found that this stage could work on
    found = pair.kernels.run({one: values[one] for one in pair.inputs})
    report = compare_tensors({one: values[one] for one in pair.outputs}, found, tolerance, name)
    if not report.passed:
        raise ParityError(
            f"{pair.name} of {file.name} computes something else with the kernel library: {report.describe()}; the "
            "file was not written, please report this model; with regions: none in the target it can be exported"
        )
    return max(output.worst_deviation for output in report.outputs.values())
