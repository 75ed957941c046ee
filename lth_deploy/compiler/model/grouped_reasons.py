"""Reasons that many layers share, said once."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

_OWN_FIGURES = re.compile(r"^[0-9.]+% zeros: ")
_OWN_SHARE = re.compile(r" \([0-9.]+ %\)$")


def counted_reasons(reasons: Mapping[str, str]) -> dict[str, int]:
    """Number of layers for each reason, the most frequent first; figures of a single layer are left out.

    reasons: by the name of the layer's weight.
    """
    counts = Counter(_OWN_SHARE.sub("", _OWN_FIGURES.sub("too few zeros: ", reason)) for reason in reasons.values())
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


class Layer(Protocol):
    """What became of a layer."""

    @property
    def name(self) -> str:
        """Of its weight."""

    @property
    def reason(self) -> str | None:
        """Why it is not packed; None where it is."""


def not_packed(layers: Iterable[Layer]) -> dict[str, int]:
    """The same of the layers that are stored in full."""
    return counted_reasons({layer.name: layer.reason for layer in layers if layer.reason is not None})


def grouped(reasons: Mapping[str, str]) -> str:
    """The same in one line; empty without any: `3 layers: it holds NaN or infinite weights; 1 layer: ...`."""
    return in_words(counted_reasons(reasons))


def in_words(counts: Mapping[str, int]) -> str:
    """Counted reasons in one line."""
    return "; ".join(f"{count} layer{'s' if count > 1 else ''}: {reason}" for reason, count in counts.items())
