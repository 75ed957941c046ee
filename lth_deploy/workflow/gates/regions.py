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
from dataclasses import dataclass
from pathlib import Path

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.config.target import GatesSpec
from lth_deploy.errors import ArtifactError, MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.progress import progress
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.workflow.gates.region_pair import RegionPair, cannot_run, region_pair
from lth_deploy.workflow.stock_values import stock_values

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegionCheck:
    """What the gate saw.

    deviation: the largest relative difference of an output of the kernels from the stock runtime's. unreached: regions
    to which no input brought anything, as where nothing was detected; nothing is known of them.
    """

    deviation: float
    unreached: tuple[str, ...] = ()


def hold_regions(
    file: Path, inputs: Iterable[tuple[str, Feeds]], gates: GatesSpec, *, by_ap: bool = False
) -> RegionCheck | None:
    """Compare every region of a file with its function body on (name, feeds).

    Floats may differ by `output_difference`, and by more where that is rounding which the region enlarges
    (`rounding.py`); those of a region with weights of bf16 by `bf16_difference`, and by more where its instructions are
    right one by one and AP was held to a bound (by_ap). Quantized values must be equal; a
    region that rounds sums once, where a stock runtime rounds twice, must be right instruction by instruction, and may
    differ from end to end by `int8_steps` where that is set: a step of floats that follow from quantized values is a
    255th of what they span.
    None when there is nothing to compare: the file has no regions, or the kernel library was not built.

    Raises:
        ParityError: a region cannot run, or deviates; names the region, what differs and the input. GateError: rounding
            to bf16 moves an output too far, and no AP says what that costs.
    """
    from lth_deploy.compiler.artifact.extract_region import extract_regions
    from lth_deploy.compiler.artifact.load import load_model

    model = load_model(file)
    regions = extract_regions(model)
    if not regions or not library_is_built(file):
        return None
    with storage.scratch("regions") as folder:
        borders = (name for region in regions for name in (*region.inputs, *region.outputs))
        values_at_regions = stock_values(model, regions, borders, folder / "whole.onnx")
        pairs = [region_pair(file, region, folder, by_ap=by_ap) for region in regions]
        worst, together = 0.0, None
        with progress(f"{file.name}: comparison of its regions", total=operator.length_hint(inputs) or None) as step:
            for name, feeds in inputs:
                values = values_at_regions(feeds)
                worst = max([worst, *(pair.compare(values, gates, name) for pair in pairs)])
                for pair in pairs:
                    pair.compare_steps(values, gates, name)
                together = together or _loaded(file)
                _run_together(file, together, feeds, name)
                step()
    return RegionCheck(worst, _unreached(file, pairs))


def library_is_built(file: Path) -> bool:
    """Whether the kernels can be compared; a warning says that those of `file` were not."""
    try:
        ops_library()
    except MissingLibraryError as error:
        log.warning("the regions of %s were not checked with kernels: %s", file.name, error)
        return False
    return True


def _loaded(file: Path) -> Session:
    """The whole file with the kernels: what stands around its regions may need what only their bodies say."""
    try:
        return RUNTIMES.get("lth_deploy").load(file, threads=1)
    except ArtifactError as error:
        raise cannot_run(file, "the whole model", "any input", error) from error


def _run_together(file: Path, together: Session, feeds: Feeds, name: str) -> None:
    try:
        together.run(dict(feeds))
    except ArtifactError as error:
        raise cannot_run(file, "the whole model", name, error) from error


def _unreached(file: Path, pairs: list[RegionPair]) -> tuple[str, ...]:
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
