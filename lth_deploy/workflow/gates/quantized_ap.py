"""The gate of int8 artifacts: what quantization costs in AP."""

from typing import TYPE_CHECKING

from lth_deploy.evaluation.ap_loss import Scores
from lth_deploy.workflow.gates.lost_ap import hold_lost_ap

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.metadata import Quantization

NAMED = 5
"""Layers that an error message names."""


def hold_quantized_ap(
    ticket: Scores, artifact: Scores, most: float, quantization: "Quantization", *, strict: bool = False
) -> None:
    """Refuse an artifact that finds less than the float ticket does. most, strict: see `hold_lost_ap`.

    Raises:
        GateError: more was lost; names the layers with the largest errors.
    """
    worst = sorted(quantization.errors.items(), key=lambda entry: -entry[1])[:NAMED]
    names = ", ".join(f"{name} ({error:.1%})" for name, error in worst)
    advice = (
        f"largest errors of layers alone: {names}; keep some of them float (keep_worst or keep_float in the target), "
        "calibrate on more images, or fine-tune with quantization"
    )
    hold_lost_ap(ticket, artifact, most, what="quantization", gate="gates.int8_ap_drop", advice=advice, strict=strict)
