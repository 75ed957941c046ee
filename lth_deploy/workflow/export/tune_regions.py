"""`export --tune`: every region timed on this machine, against its own function body in the stock runtime."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from onnx import ModelProto

from lth_deploy import storage
from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.compiler.artifact.extract_region import extract_regions
from lth_deploy.compiler.artifact.metadata import WHOLE, Measured
from lth_deploy.compiler.emit import Emitted, emitter
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.mac_count import Uses
from lth_deploy.compiler.planning.predict_model import dense_run
from lth_deploy.compiler.planning.select_regions import Facts
from lth_deploy.compiler.planning.unpredicted_time import measured_shares, outside_ms, unpredicted_ms
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from lth_deploy.kernels import ops_library
from lth_deploy.measure.latency import Timing
from lth_deploy.measure.machine import describe_machine
from lth_deploy.progress import progress
from lth_deploy.workflow.export.predicted_plan import Chosen, predicted, predicted_faster
from lth_deploy.workflow.export.tune_whole import Plan, not_slower, time_pair, time_whole
from lth_deploy.workflow.stock_values import stock_values

log = logging.getLogger(__name__)

TIMING = Timing(seconds=1.0, block_seconds=0.1, minimum_rounds=9)

GIVE_UP = 1.0
"""A region whose time over dense is above this runs dense."""


def emit_chosen(model: NormalizedModel, target: Target, used: Uses, feeds: Feeds) -> Chosen:
    """Emit a model for a target; where the target says `tune`, with the regions that are faster on this machine.

    Raises:
        ArtifactError: the model holds damaged tensors.
        MissingLibraryError: tuning needs the kernel library, which was not built.
    """
    tuned = target.tune and target.format == "packed" and target.regions == "auto"
    emitted = emitter(model, target)
    if tuned:
        chosen = tune(emitted, used, feeds)
    else:
        chosen = Chosen(*emitted(Facts(used.positions, batches=used.batches)), None)
    if all(layer.region is None for layer in chosen.layers):
        return chosen
    if not target.costs.predicts_whole_models:
        return _with_unpredicted(chosen, target, feeds) if target.profile else chosen
    try:
        run = dense_run(chosen.model, feeds, profiled=target.profile)
        return (
            predicted(chosen, run, feeds, target)
            if tuned
            else predicted_faster(chosen, emitted, run, used, feeds, target)
        )
    except ArtifactError as error:
        log.warning("nothing is predicted of the whole model: %s", error)
        return chosen


def _with_unpredicted(chosen: Chosen, target: Target, feeds: Feeds) -> Chosen:
    dense = {layer.name: layer.dense_ms for layer in chosen.layers if layer.dense_ms is not None}
    if not dense:
        return chosen
    try:
        shares = measured_shares(chosen.model, dense, feeds)
    except ArtifactError as error:
        log.warning("inspect will predict the layers only, not the whole model: %s", error)
        return chosen
    unpredicted = unpredicted_ms(shares, sum(dense.values()), target.costs.roi_align)
    return replace(chosen, unpredicted_ms=unpredicted, outside_ms=outside_ms(shares, unpredicted))


def tune(emitted: Callable[[Facts], Emitted], used: Uses, feeds: Feeds, timing: Timing = TIMING) -> Chosen:
    """A plan whose regions are measured on `feeds` to be faster, alone and in the model. emitted: makes a plan.

    Regions that lose by themselves are given up first, then those that the whole model is faster without, until it is
    not slower than its dense twin; in the end there may be none.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    ops_library()

    def planned(slower: Mapping[str, str]) -> Plan:
        facts = Facts(used.positions, slower, by_table=False, batches=used.batches)
        return Plan(*emitted(facts), slower)

    plan, times = _faster_alone(planned, feeds, timing)
    gains = {name: dense - kernels for name, (kernels, dense) in times.items()}
    kept, whole = not_slower(plan, gains, planned, lambda one, pairs: time_whole(one.model, feeds, pairs))
    if kept is not plan:
        times = measure_regions(kept.model, feeds, timing) if kept.regions else {}
    times[WHOLE] = (whole.kernels, whole.dense)
    return Chosen(kept.model, kept.layers, Measured(cpu=describe_machine().cpu, times=times))


def _faster_alone(
    planned: Callable[[Mapping[str, str]], Plan], feeds: Feeds, timing: Timing
) -> tuple[Plan, dict[str, tuple[float, float]]]:
    """The plan whose regions are each faster than dense by themselves, and their times."""
    plan = planned({})
    while True:
        times = measure_regions(plan.model, feeds, timing)
        lost = {
            layer.name: f"measured for its region: {times[layer.region][0]:.2f} ms with kernels, "
            f"{times[layer.region][1]:.2f} ms dense"
            for layer in plan.layers
            if layer.region in times and times[layer.region][0] > GIVE_UP * times[layer.region][1]
        }
        for name, (kernels, dense) in times.items():
            log.info("%s: %.2f ms with kernels, %.2f ms dense", name, kernels, dense)
        if not lost:
            return plan, times
        plan = planned({**plan.slower, **lost})


def measure_regions(model: ModelProto, feeds: Feeds, timing: Timing = TIMING) -> dict[str, tuple[float, float]]:
    """Median milliseconds with kernels and dense, on one thread, of each region by its name.

    Kernels and stock runtime alternate; regions get the activations that `feeds` bring to them.

    Raises:
        MissingLibraryError: the kernel library was not built.
    """
    times: dict[str, tuple[float, float]] = {}
    regions = extract_regions(model)
    with storage.scratch("tune") as folder:
        values: Arrays = {}
        if regions:
            borders = (name for region in regions for name in region.inputs)
            values = stock_values(model, regions, borders, folder / "shown.onnx")(feeds)
        with progress("timing of the regions", total=len(regions)) as step:
            for region in regions:
                path = folder / f"{region.name}.onnx"
                save_model(region.model, path)
                own = {name: values[name] for name in region.inputs}
                if all(value.size for value in own.values()):
                    both = time_pair(path, path, own, timing)
                    times[region.name] = both.kernels, both.dense
                step()
    return times
