"""The answer that a node has no instruction."""

from typing import TypeVar

T = TypeVar("T")


class NoMatch(Exception):  # noqa: N818 - it is an answer, not an error
    """A node has no instruction; the text says why."""


def require(value: T | None, reason: str) -> T:
    """The value, unless it is None or False.

    Raises:
        NoMatch: with the reason.
    """
    if value is None or value is False:
        raise NoMatch(reason)
    return value
