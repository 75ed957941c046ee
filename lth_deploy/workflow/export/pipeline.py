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
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.mac_count import uses
from lth_deploy.compiler.quantization.sensitive import MOST_CARE
from lth_deploy.errors import GateError
from lth_deploy.workflow.export.compare_twins import float_twin
from lth_deploy.workflow.export.predicted_plan import Chosen
from lth_deploy.workflow.export.quantization import GraphQuantizer, QuantizedGraph
from lth_deploy.workflow.export.source import Accuracy, Compiled, Gated, P, Source, Trimmed, Written
from lth_deploy.workflow.export.tune_regions import emit_chosen
from lth_deploy.workflow.gates.bf16_ap import check_bf16, hold_bf16_gain, say_bf16_gain
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
    check_bf16(source.target)
    care = 0 if source.knows_ap else MOST_CARE
    prepared = _Prepared(source)
    while True:
        compiled = _compiled(source, prepared, care)
        try:
            return _gated(source, _written(source, compiled, file))
        except GateError as error:
            if not compiled.passed_up:
                raise
            log.info("%s; once more, with more layers in float", str(error).split(";")[0])
        care += 1


class _Prepared:
    """What does not depend on care."""

    def __init__(self, source: Source[P]) -> None:
        self.trimmed: Trimmed = source.without_dead_channels()
        self._quantizer: GraphQuantizer | None = None
        if source.target.values == "int8":
            found = source.calibration()
            self._quantizer = GraphQuantizer(self.trimmed.model, found.feeds, source.target, found.learned)

    def quantized(self, care: int) -> QuantizedGraph | None:
        """The int8 graph; None for floats."""
        return None if self._quantizer is None else self._quantizer.quantized(care)


def _compiled(source: Source[P], prepared: _Prepared, care: int) -> Compiled:
    """care: of an int8 file, how much its error counts beside its time."""
    target, feeds, trimmed = source.target, source.inputs[0][1], prepared.trimmed
    quantized = prepared.quantized(care)
    stored = trimmed.model if quantized is None else quantized.graph
    used = uses(trimmed.model if source.counts_in_float_order else stored, feeds)
    chosen = emit_chosen(stored, target, used, feeds)
    hold_bf16_gain(target, chosen.layers)
    if chosen.whole is not None:
        say_bf16_gain(target, chosen.model, feeds)
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
    regions = hold_regions(written.file, source.inputs, source.target.gates, by_ap=accuracy is not None)
    return Gated(written, parity, regions, accuracy, source.agreement(written))


def _accuracy(source: Source[P], written: Written, parity: P) -> Accuracy | None:
    """AP of the artifact, held to the bound of the source, and of an int8 one to that of the float model too."""
    found, quantization = source.accuracy(written, parity), written.compiled.results.quantization
    if found is not None and quantization is not None:
        before, most = source.float_scores(written, found), source.target.gates.int8_ap_drop
        hold_quantized_ap(before, found.artifact, most, quantization, strict=written.compiled.passed_up)
    return found
