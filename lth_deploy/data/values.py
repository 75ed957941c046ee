"""Reading single values out of a JSON document that nobody vouches for."""

import math
from typing import Any

from lth_deploy.data.findings import FaultError

LARGEST_COORDINATE = 1e6
"""Pixels; far above any image, and float32 still tells neighbouring pixels apart there."""

# bool is an int to Python, not to whoever wrote a coordinate.
_NUMBERS = {int, float}


def as_id(value: Any, name: str = "id") -> int:
    """A whole number of 0 or more.

    Raises:
        FaultError: anything else, among it true and 3.0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise FaultError(f"{name} must be a whole number of 0 or more, found {short(value)}")
    return value


def as_numbers(value: Any, name: str) -> list[float]:
    """A list of finite numbers of ordinary size.

    Raises:
        FaultError: not a list, or an element that is not such a number.
    """
    if not isinstance(value, list):
        raise FaultError(f"{name} must be a list of numbers, found {short(value)}")
    # Millions of polygons pass here: look at single elements only to name the culprit.
    if value and not (set(map(type, value)) <= _NUMBERS and _all_finite(value)):
        culprit = next(v for v in value if type(v) not in _NUMBERS or not abs(v) <= LARGEST_COORDINATE)
        raise FaultError(f"{name} holds {short(culprit)}, which is not a finite coordinate")
    return value


def _all_finite(values: list[float]) -> bool:
    # min and max may skip over a NaN; the sum of what they have bounded cannot.
    bounded = min(values) >= -LARGEST_COORDINATE and max(values) <= LARGEST_COORDINATE
    return bounded and not math.isnan(sum(values))


def as_number(value: Any, name: str) -> float:
    """One finite number of 0 or more.

    Raises:
        FaultError: anything else.
    """
    if type(value) not in _NUMBERS or not 0 <= value <= 1e18 or not math.isfinite(value):
        raise FaultError(f"{name} must be a number of 0 or more, found {short(value)}")
    return float(value)


def short(value: Any) -> str:
    """`value` for a message, cut to a readable length."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    if isinstance(value, list | dict) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)} elements"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
