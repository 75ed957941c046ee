"""The answer that a node has no instruction."""


class NoMatch(Exception):  # noqa: N818 - it is an answer, not an error
    """A node has no instruction; the text says why."""


def need(holds: bool, reason: str) -> None:
    """Decline unless something holds."""
    if not holds:
        raise NoMatch(reason)
