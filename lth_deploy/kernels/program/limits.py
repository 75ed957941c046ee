"""The limits of region programs, and what is raised where a rule is broken."""

from lth_deploy.errors import ArtifactError

MAX_TEXT = 1 << 20
MAX_INSTRUCTIONS = 4096
MAX_WEIGHTS = 4096
MAX_OUTPUTS = 64
MAX_INPUTS = 64
MAX_CHANNELS = 65536
MAX_KERNEL = 15
MAX_STRIDE = 8
MAX_PAD = 14
MAX_DILATION = 8
MAX_WEIGHT_ELEMENTS = 1 << 29
MAX_ALL_ELEMENTS = 1 << 30

SCALES = (1e-12, 1e12)
"""Least and largest scale of a tensor of bytes."""

WEIGHT_SCALES = (1e-30, 1e12)
"""Least and largest scale of an output channel."""

MAX_SUM = 2**31 - 1
"""Of the largest sum that bytes can make with the weights and the bias of one output channel."""


class RuleError(ArtifactError):
    """A rule that one line breaks. place: `weight` or `t` or `output` and its number, or an empty text."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(rule)
        self.place = place


def need(holds: bool, place: str, rule: str) -> None:
    """Raise `rule` as a RuleError unless it holds."""
    if not holds:
        raise RuleError(place, rule)
