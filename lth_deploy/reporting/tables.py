"""A table as data: the template prints it, the page sorts it, and tests read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.reporting import number_text


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and what the column sorts by; `bar` (0..1) draws a small bar beside the text."""

    text: str
    sort: float | str | None = None
    note: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A heading; numbers stand right. `help` is shown when the pointer rests on it."""

    title: str
    help: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Line:
    """A row; `kind` gives the color of its chip, `strong` marks the one that matters."""

    cells: tuple[Cell, ...]
    kind: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Columns that hold nothing in any row are left out by `compact`."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def compact(columns: Sequence[Column], lines: Sequence[Line]) -> Table:
    """A table without the columns that are empty in every row."""
    keep = [
        index
        for index, column in enumerate(columns)
        if column.is_text or any(line.cells[index].text != number_text.MISSING for line in lines)
    ]
    return Table(
        tuple(columns[index] for index in keep),
        tuple(Line(tuple(line.cells[index] for index in keep), line.kind, line.strong) for line in lines),
    )


def text(value: str, note: str = "") -> Cell:
    """A cell of words."""
    return Cell(value or number_text.MISSING, value, note)


def ap(fraction: float | None, note: str = "") -> Cell:
    """A cell with AP on the 0-100 scale."""
    return Cell(number_text.ap(fraction), fraction, note)


def points(difference: float | None, note: str = "") -> Cell:
    """A cell with a difference of AP."""
    return Cell(number_text.points(difference), difference, note)


def percent(share: float | None, *, bar: bool = False) -> Cell:
    """A cell with a share; bar: whether a small bar is drawn beside it."""
    return Cell(number_text.percent(share), share, bar=min(max(share, 0.0), 1.0) if bar and share is not None else None)


def size(count: float | None, note: str = "") -> Cell:
    """A cell with bytes."""
    return Cell(number_text.size(count), count, note)


def milliseconds(value: float | None, note: str = "") -> Cell:
    """A cell with a time in ms."""
    return Cell(number_text.milliseconds(value), value, note)


def count(number: float | None) -> Cell:
    """A cell with a whole number."""
    return Cell(number_text.count(number), number)
