"""The one way from a model to an exported file, whatever the model comes from.

    source: a normalized, pruned model
      -> without dead channels -> quantized -> packed into regions, tuned -> written -> gated

`folder.py` commits what has passed, and nothing else.
"""

import logging
from pathlib import Path

from lth_deploy import storage
from lth_deploy.compiler.artifact.metadata import write_metadata
from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, PassResults
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.mac_count import uses
from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.errors import GateError
from lth_deploy.workflow.export.compare_twins import float_twin
from lth_deploy.workflow.export.predicted_plan import Chosen
from lth_deploy.workflow.export.quantization import QuantizedGraph, quantize
from lth_deploy.workflow.export.source import Accuracy, Compiled, Gated, P, Source, Written
from lth_deploy.workflow.export.tune_regions import emit_chosen
from lth_deploy.workflow.gates.class_names import hold_written_classes
from lth_deploy.workflow.gates.quantized_ap import hold_quantized_ap
from lth_deploy.workflow.gates.regions import hold_regions
from lth_deploy.workflow.machine_costs import described_costs, prediction_error

log = logging.getLogger(__name__)


def export_source(source: Source[P], file: Path) -> Gated[P]:
    """Compile the model of `source`, write it to `file`, and hold the file to every gate.

    Raises:
        ArtifactError: the model is damaged or does not run.
        DataError, UsageError: it cannot be quantized as the target wants it.
        ParityError: the file computes something else than the source, or names other classes.
        GateError: more AP is lost than allowed.
    """
    care = 0 if source.knows_ap else MOST_CARE
    while True:
        compiled = _compiled(source, care)
        try:
            return _gated(source, _written(source, compiled, file))
        except GateError as error:
            if not compiled.passed_up:
                raise
            log.info("%s; once more, with more layers in float", str(error).split(";")[0])
        care += 1


def _compiled(source: Source[P], care: int) -> Compiled:
    """care: of an int8 file, how much its error counts beside its time."""
    target, feeds = source.target, source.inputs[0][1]
    trimmed = source.without_dead_channels()
    quantized = _quantized(source, trimmed.model, care)
    stored = trimmed.model if quantized is None else quantized.graph
    used = uses(trimmed.model if source.counts_in_float_order else stored, feeds)
    chosen = emit_chosen(stored, target, used, feeds)
    results = PassResults(
        layers=chosen.layers,
        positions=used.positions,
        input_shapes=used.sizes,
        measured=chosen.measured,
        unpredicted_ms=chosen.unpredicted_ms,
        outside_ms=chosen.outside_ms,
        costs=described_costs(target) if _predicted(chosen) else None,
        prediction_error=prediction_error(target, chosen.unrated) if _predicted(chosen) else None,
        quantization=None if quantized is None else quantized.quantization,
        removed_channels=trimmed.removed,
    )
    compare = quantized is not None and target.format == "packed"
    twin = float_twin(chosen, trimmed.model, stored, target, feeds) if compare else None
    passed_up = quantized is not None and quantized.passed_up
    return Compiled(chosen.model, stored, results, twin, passed_up)


def _predicted(chosen: Chosen) -> bool:
    """Whether the file says what its regions gain."""
    return any(layer.region is not None for layer in chosen.layers)


def _quantized(source: Source[P], model: NormalizedModel, care: int) -> QuantizedGraph | None:
    if source.target.values != "int8":
        return None
    found = source.calibration()
    return quantize(model, found.feeds, source.target, found.learned, care=care)


def _written(source: Source[P], compiled: Compiled, file: Path) -> Written:
    metadata = MetadataBuilder(source.metadata, compiled.results)
    control, sparsity = source.control(metadata), source.sparsity(compiled.results.layers)
    digest = None if control is None else storage.sha256(control)
    write_metadata(compiled.model, metadata.artifact(sparsity=sparsity, control_sha256=digest))
    save_model(compiled.model, file)
    hold_written_classes(file, source.name, source.classes)
    return Written(file, control, sparsity, compiled)


def _gated(source: Source[P], written: Written) -> Gated[P]:
    parity = source.hold_parity(written)
    accuracy = _accuracy(source, written, parity)
    regions = hold_regions(written.file, source.inputs, source.target.gates)
    return Gated(written, parity, regions, accuracy, source.agreement(written))


def _accuracy(source: Source[P], written: Written, parity: P) -> Accuracy | None:
    """AP of the artifact, held to the bound of the source, and of an int8 one to that of the float model too."""
    found, quantization = source.accuracy(written, parity), written.compiled.results.quantization
    if found is not None and quantization is not None:
        before = source.float_metrics(written, found)
        hold_quantized_ap(before, found.artifact, source.target.gates.int8_ap_drop, quantization)
    return found
