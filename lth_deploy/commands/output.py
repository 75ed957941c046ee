"""Printing results: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from lth_deploy.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def shown(text: str) -> str:
    """The text as it may go to a terminal: names from files may hold characters that clear the screen or turn text.

    Lines stay; every other character that does not print is written as its escape.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Aligned columns; everything but the first column is right-aligned, as figures are."""
    lines = [[shown(cell).replace("\n", " ") for cell in line] for line in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    out = sys.stderr if to_stderr else sys.stdout
    for number, line in enumerate(lines):
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *rest]).rstrip(), file=out)
        if number == 0:
            print("  ".join("-" * width for width in widths), file=out)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False))


def seconds_of(text: str | None) -> float | None:
    """Seconds of a duration such as 90, 45s, 20m or 2h.

    Raises:
        UsageError: no duration.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text)
    if not match or match[2] not in _UNITS:
        raise UsageError(f"'{text}' is no duration; write it like 45s, 20m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def numbers_of(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Raises:
        UsageError: something else was given.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: write whole numbers separated by commas, for instance 1,2") from error


def shapes_of(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes by name of input, from texts like `images=1,3,640,640`.

    Raises:
        UsageError: another form, a size below 1, or a name twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, numbers = text.rpartition("=")
        sizes = [part.strip() for part in numbers.split(",")] if numbers.strip() else []
        if not name or not all(re.fullmatch(r"[1-9][0-9]{0,9}", size) for size in sizes):
            raise UsageError(f"--shape {text}: write NAME=1,3,640,640, all sizes from 1 on")
        if name in found:
            raise UsageError(f"--shape {name} is given twice; give one shape for each input")
        found[name] = tuple(map(int, sizes))
    return found


def points(value: float | None) -> str:
    """AP on the scale of 0 to 100 with one decimal; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"
