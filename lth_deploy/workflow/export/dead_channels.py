"""Leaving out of an export the channels that pruning of whole filters made dead, and saying so."""

import logging

from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.dead_channels import remove_dead_channels

log = logging.getLogger(__name__)


def without_dead_channels(model: NormalizedModel, what: str) -> tuple[NormalizedModel, dict[str, tuple[int, int]]]:
    """The model without channels that are always zero; how many, of how many, by weight. what: its name in the log."""
    smaller, report = remove_dead_channels(model)
    for name, (gone, channels) in report.removed.items():
        log.info("%s: %s: %d of %d channels removed", what, name, gone, channels)
    if report.left:
        name, reason = next(iter(report.left.items()))
        log.info("%s: channels that are always zero stay in %d layers (%s: %s)", what, len(report.left), name, reason)
    return smaller, report.removed
