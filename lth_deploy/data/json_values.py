"""Reading single values out of a JSON document that nobody vouches for."""

import math
import re
import unicodedata
from typing import Any

LARGEST_COORDINATE = 1e6
"""Pixels; far above any image, and float32 still tells neighboring pixels apart there."""


class FaultError(ValueError):
    """What is wrong with one field; whoever catches it knows the file and the id."""


# bool is an int to Python, not to whoever wrote a coordinate.
_NUMBERS = {int, float}

# float() would also take "1_0", "nan", "infinity" and the digits of other scripts.
_PLAIN = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_LONGEST_NUMBER = 40


def plain_number(text: str) -> float | None:
    """The number that `text` is, written with digits, a point and an exponent; None where it is anything else."""
    return float(text) if len(text) <= _LONGEST_NUMBER and _PLAIN.fullmatch(text) else None


def as_id(value: Any, name: str = "id") -> int:
    """A whole number of 0 or more; 3.0 and "3" are 3.

    Raises:
        FaultError: anything else, among it true.
    """
    number = plain_number(value) if type(value) is str else value
    if type(number) is float and number.is_integer() and abs(number) < 2**53:
        number = int(number)
    if type(number) is not int or not 0 <= number < 2**63:
        raise FaultError(f"{name} must be a whole number of 0 or more, found {short(value)}")
    return number


def as_numbers(value: Any, name: str) -> list[float]:
    """A list of finite numbers of ordinary size: `value` itself, or a new list where some were written as text.

    Raises:
        FaultError: not a list, or an element that is not such a number.
    """
    if not isinstance(value, list):
        raise FaultError(f"{name} must be a list of numbers, found {short(value)}")
    # Millions of polygons pass here: look at single elements only to name the culprit.
    types = set(map(type, value))
    numbers: list[Any] = [plain_number(v) if type(v) is str else v for v in value] if str in types else value
    if value and not (types <= {*_NUMBERS, str} and None not in numbers and _all_finite(numbers)):
        pairs = zip(value, numbers, strict=True)
        culprit = next(v for v, n in pairs if type(n) not in _NUMBERS or not abs(n) <= LARGEST_COORDINATE)
        kind = "is no plain number" if isinstance(culprit, str) else "is not a finite coordinate"
        raise FaultError(f"{name} holds {short(culprit)}, which {kind}")
    return numbers


def _all_finite(values: list[float]) -> bool:
    # min and max may skip over a NaN; the sum of what they have bounded cannot.
    bounded = min(values) >= -LARGEST_COORDINATE and max(values) <= LARGEST_COORDINATE
    return bounded and not math.isnan(sum(values))


def as_number(value: Any, name: str) -> float:
    """One finite number of 0 or more, which may be written as text.

    Raises:
        FaultError: anything else.
    """
    number: Any = plain_number(value) if type(value) is str else value
    if type(number) not in _NUMBERS or not 0 <= number <= 1e18 or not math.isfinite(number):
        raise FaultError(f"{name} must be a number of 0 or more, found {short(value)}")
    return float(number)


def short(value: Any) -> str:
    """`value` for a message, cut to a readable length."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    if isinstance(value, list | dict) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)} elements"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_one_line(text: str) -> bool:
    """Whether `text` can be printed and written: no control characters, and no lone surrogates, which JSON allows."""
    return not any(unicodedata.category(one) in ("Cc", "Cs") for one in text)


def printable(text: object, most: int = 300) -> str:
    """`text` for one line: control characters and lone surrogates as codes, the middle of long text left out."""
    whole = str(text)
    if not whole.isprintable():
        whole = "".join(one if one.isprintable() else repr(one)[1:-1] for one in whole)
    return whole if len(whole) <= most else f"{whole[: most // 2]}...{whole[-most // 2 :]}"
