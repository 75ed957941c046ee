"""The fields of one line of a program, and the numbers and names in them, read loosely."""

import re
from collections.abc import Sequence

from lth_deploy.kernels.program.values import Pair

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_LONGEST_FLOAT = 24


class Fields:
    """The fields of a line behind the operator's name; state: how many without a key were read."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._plain = [text for text in texts if "=" not in text]
        self._keys = dict(text.split("=", 1) for text in texts if "=" in text)
        self._read = 0

    def next(self) -> str:
        """The next field without a key."""
        self._read += 1
        return self._plain[self._read - 1]

    def rest(self) -> list[str]:
        """All further fields without a key."""
        texts = self._plain[self._read :]
        self._read = len(self._plain)
        return texts

    def key(self, name: str) -> str:
        """The value of the field `name=`."""
        if name not in self._keys:
            raise ValueError(f"{name}= is missing")
        return self._keys[name]

    def optional(self, name: str) -> str | None:
        """The value of the field `name=`, or None."""
        return self._keys.get(name)


def read_number(text: str) -> int:
    """A whole number without sign and leading zeros."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text:.40}' is no number")
    return int(text)


def read_name(text: str, letter: str) -> int:
    """The number in a name such as t12."""
    if not text.startswith(letter):
        raise ValueError(f"'{text:.40}' should be {letter} and a number")
    return read_number(text[len(letter) :])


def read_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    return tuple(read_number(part) for part in text.split(",", 8))


def joined(numbers: Sequence[int]) -> str:
    """Numbers with commas between them."""
    return ",".join(map(str, numbers))


def read_several(text: str, count: int) -> tuple[int, ...]:
    """Exactly so many whole numbers with commas between them."""
    numbers = read_numbers(text)
    if len(numbers) != count:
        raise ValueError(f"'{text:.40}' should be {count} numbers")
    return numbers


def read_pair(text: str) -> Pair:
    """Two whole numbers with a comma between them."""
    first, second = read_several(text, 2)
    return first, second


def read_float(text: str) -> float:
    """A real number of a program."""
    if len(text) > _LONGEST_FLOAT:
        raise ValueError("a number is too long")
    return float(text)
