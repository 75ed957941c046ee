"""The gate of int8 artifacts: what quantization costs in AP."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lth_deploy.errors import GateError

if TYPE_CHECKING:
    from lth_deploy.compiler.artifact.metadata import Quantization

NAMED = 5
"""Layers that an error message names."""


def hold_quantized_ap(
    ticket: Mapping[str, Any], artifact: Mapping[str, Any], most: float, quantization: "Quantization"
) -> None:
    """Refuse an artifact that finds less than the float ticket does.

    ticket, artifact: metrics of each kind, with `AP` as fractions. most: AP that may be lost.

    Raises:
        GateError: more was lost; names the layers with the largest errors.
    """
    for kind, metrics in ticket.items():
        before, after = metrics["AP"], artifact[kind]["AP"]
        if before is None or after is None or before - after <= most:
            continue
        worst = sorted(quantization.errors.items(), key=lambda entry: -entry[1])[:NAMED]
        names = ", ".join(f"{name} ({error:.1%})" for name, error in worst)
        raise GateError(
            f"quantization costs {100 * (before - after):.2f} {kind} AP ({100 * before:.2f} to {100 * after:.2f}), "
            f"allowed are {100 * most:.2f}; largest errors of layers alone: {names}; keep some of them float "
            "(keep_worst or keep_float in the target), calibrate on more images, or fine-tune with quantization. "
            "Nothing was written"
        )
