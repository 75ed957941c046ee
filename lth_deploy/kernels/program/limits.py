"""The limits of region programs, and what is raised where a rule is broken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

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
"""Least and largest scale of a quantized tensor."""

WEIGHT_SCALES = (1e-30, 1e12)
"""Least and largest scale of an output channel."""

MAX_ACCUMULATOR = 2**31 - 1
"""Largest magnitude of an accumulator of an output channel, whatever the quantized input is."""

QUAD = 4
"""Channels of a quantized tensor that lie together in the kernels' layout."""

T = TypeVar("T")


class RuleError(ArtifactError):
    """A rule that one line breaks. place: `weight`, `t` or `output` and its number; empty for the whole program."""

    def __init__(self, rule: str, place: str = "") -> None:
        super().__init__(rule)
        self.place = place


def require(value: T | None, rule: str) -> T:
    """The value, unless it is None or False.

    Raises:
        RuleError: with the rule; `at` adds the place.
    """
    if value is None or value is False:
        raise RuleError(rule)
    return value


@contextmanager
def at(place: str) -> Iterator[None]:
    """Rules that are broken inside get this place, unless they have one."""
    try:
        yield
    except RuleError as error:
        raise RuleError(str(error), error.place or place) from error
