"""Figures as trackers show them: one name for each, the same in all of them."""

import re
from collections.abc import Mapping
from typing import Any

from lth_deploy.run.trial_result import TrialResult


def scores_of(result: TrialResult) -> dict[str, float]:
    """AP on the scale of 0 to 100, as val/bbox/AP."""
    scores: dict[str, float] = {}
    for split in ("val", "test"):
        by_kind: Mapping[str, Any] = getattr(result, split, None) or {}
        for kind, metrics in by_kind.items():
            scores |= {f"{split}/{kind}/{name}": 100 * value for name, value in metrics.items() if value is not None}
    return scores


def shares_of(result: TrialResult) -> dict[str, float]:
    """Zeros and zero MACs in per cent."""
    shares = {"zeros": result.sparsity_prunable, "zero_macs": result.zero_macs}
    return {name: 100 * value for name, value in shares.items() if value is not None}


def plain(name: str) -> str:
    """A name with nothing that a tracker refuses."""
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", name)
