"""Bisection over shares of zeros in whole per cent."""

from collections.abc import Callable

MOST = 95
"""The largest share that is tried, in per cent: reconstruction leaves each layer as much as the rest."""


def largest(keeps: Callable[[int], bool]) -> int:
    """The largest percentage up to `MOST` that `keeps`, to one point; 0 where 1 % does not.

    What keeps at a share is taken to keep at all smaller ones.
    """
    good, bad = 0, MOST + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if keeps(middle):
            good = middle
        else:
            bad = middle
    return good


def most_tries() -> int:
    """How many shares `largest` looks at, at most."""
    return MOST.bit_length()
