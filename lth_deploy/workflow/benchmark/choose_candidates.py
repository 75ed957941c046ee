"""Which candidates a benchmark measures, and which are left out because their engine refuses them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.errors import UsageError
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.benchmark.candidates import (
    KERNELS,
    Candidate,
    calibration_images,
    collect_candidates,
    default_engines,
    quantize_baseline,
)
from lth_deploy.workflow.benchmark.fixed_shape import fixed_shapes
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.peers import installed_peers, peer_candidates, quantized_for_peers, usable
from lth_deploy.workflow.gates.class_names import hold_control_classes

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset


def choose_candidates(
    artifacts: Sequence[Path], baseline: Path | None, dataset: "CocoDataset", options: BenchmarkOptions, workspace: Path
) -> tuple[list[Candidate], list[str]]:
    """Everything that takes part, the baseline first; and what is left out because its engine refuses it.

    Unless the engines are named, the dense model also takes part on every installed peer of ONNX Runtime.
    """
    from lth_deploy.data.images import read_record

    peers = _peers(options)
    engines = default_engines() if options.engines is None else options.engines
    found = collect_candidates(artifacts, baseline, engines, options.decoder, workspace, verify=options.verify)
    base = found[0]
    for candidate in found[1:]:
        hold_control_classes(candidate.file, base.file)
    shapes = fixed_shapes(base.file, dataset, options.shapes) if peers else None
    calibration = options.calibration_folder, dataset, options.calibration
    quantized, left_out = None, list[str]()
    if options.int8:
        quantized = quantize_baseline(base, *calibration_images(*calibration), workspace)
        others = [engine for engine in engines if engine not in (quantized.engine, KERNELS)]
        found += [quantized, *(replace(quantized, engine=engine) for engine in others)]
    elif options.engines is None and peers and not base.file.quantized:
        quantized, left_out = quantized_for_peers(base, *calibration, workspace)
    for candidate in peer_candidates(base, quantized, peers, shapes, lambda name: RUNTIMES.get(name).precisions()):
        # With engines named, those with the shapes of the file are there already.
        if options.engines is None or candidate.shapes is not None:
            found.append(candidate)
    timed = dataset.subset(options.timed_images).images
    good, refused = usable(found, [read_record(record) for record in timed])
    return good, [*left_out, *refused]


def _peers(options: BenchmarkOptions) -> tuple[str, ...]:
    """Every installed peer; of engines that the user named, those that can fix the shape that the user gave.

    Raises:
        UsageError: a shape is given, and no engine can fix it.
    """
    engines = installed_peers() if options.engines is None else options.engines
    fixing = tuple(name for name in engines if RUNTIMES.get(name).fixes_shapes)
    if options.shapes is not None and not fixing:
        raise UsageError("--shape: none of the engines fixes shapes; install lth-deploy[openvino], or leave it out")
    if options.engines is None:
        return engines
    return fixing if options.shapes is not None else ()
