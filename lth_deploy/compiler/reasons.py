"""Reasons that many layers share, said once."""

import re
from collections import Counter
from collections.abc import Mapping

_OWN_FIGURES = re.compile(r"^[0-9.]+% zeros: ")


def counted_reasons(reasons: Mapping[str, str]) -> dict[str, int]:
    """Number of layers for each reason, the most frequent first; figures of a single layer are left out.

    reasons: by the name of the layer's weight.
    """
    counts = Counter(_OWN_FIGURES.sub("too few zeros: ", reason) for reason in reasons.values())
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def grouped(reasons: Mapping[str, str]) -> str:
    """The same in one line; empty without any: `3 layers: it holds NaN or infinite weights; 1 layer: ...`."""
    counts = counted_reasons(reasons)
    return "; ".join(f"{count} layer{'s' if count > 1 else ''}: {reason}" for reason, count in counts.items())
