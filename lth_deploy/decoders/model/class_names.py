"""Class names in the metadata of ONNX files from elsewhere, and what a number of classes says without them."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lth_deploy.decoders.model.coco_names import COCO_NAMES
from lth_deploy.errors import ArtifactError

MAX_CHARACTERS = 1 << 20

_TEXT = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_PAIR = re.compile(rf"""\s*(?:['"]?(\d{{1,6}})['"]?)\s*:\s*({_TEXT})\s*(?:,|$)""")
_ITEM = re.compile(rf"\s*({_TEXT})\s*(?:,|$)")

_COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
COCO_IDS: tuple[int, ...] = tuple(number for number in range(1, 91) if number not in _COCO_GAPS)
"""The category ids of COCO's 80 classes."""


def parse_names(text: str) -> tuple[str, ...]:
    """The names of classes 0, 1, ... that exporters write: `{0: 'person', 1: 'bicycle'}`, JSON, or a list.

    No expression is evaluated: the text comes from a file that anyone may have written.

    Raises:
        ArtifactError: it is something else, or a number is absent.
    """
    fault = "metadata 'names' is no mapping of class numbers 0, 1, ... to names"
    body = text.strip()
    if len(body) > MAX_CHARACTERS or body[:1] + body[-1:] not in ("{}", "[]", "()"):
        raise ArtifactError(f"{fault}: {body[:60]!r}; correct the metadata of the file")
    pattern, position = _PAIR if body[0] == "{" else _ITEM, 0
    found: dict[int, str] = {}
    inner = body[1:-1].strip()
    while position < len(inner):
        match = pattern.match(inner, position)
        if match is None:
            raise ArtifactError(f"{fault}: {inner[position : position + 60]!r}; correct the metadata of the file")
        groups = match.groups()
        number = int(groups[0]) if len(groups) == 2 else len(found)
        if number in found:
            raise ArtifactError(f"metadata 'names' names class {number} twice; correct the metadata of the file")
        found[number] = _unquoted(groups[-1])
        position = match.end()
    if sorted(found) != list(range(len(found))):
        absent = next(number for number in range(len(found)) if number not in found)
        raise ArtifactError(f"metadata 'names' does not name class {absent}; correct the metadata of the file")
    return tuple(found[number] for number in range(len(found)))


@dataclass(frozen=True)
class Classes:
    """names: of the classes, None where nobody says them. columns: of the scores that are classes; None for all."""

    names: tuple[str, ...] | None
    columns: tuple[int, ...] | None = None


def classes_of(names: tuple[str, ...] | None, count: int | None, output: str) -> Classes:
    """The classes of a model with `count` columns of scores in `output`; None where the graph leaves it open.

    Without names, 80 classes are COCO's. Of 90 or 91 columns for them, those are left out of which the category id is
    not used.

    Raises:
        ArtifactError: there are more or fewer names.
    """
    if names is None or len(names) == len(COCO_NAMES) != count:
        if count == 91:
            return Classes(names or COCO_NAMES, COCO_IDS)
        if count == 90:
            return Classes(names or COCO_NAMES, tuple(number - 1 for number in COCO_IDS))
    if names is None:
        return Classes(COCO_NAMES if count == len(COCO_NAMES) else None)
    if count is not None and len(names) != count:
        raise ArtifactError(
            f"metadata 'names' names {len(names)} classes, but output {output} has {count}; correct the metadata"
        )
    return Classes(names)


def category_ids(names: Sequence[str]) -> tuple[int, ...]:
    """The category ids of classes: those of COCO, which have gaps, where the names are COCO's; else 1, 2, ..."""
    return COCO_IDS if tuple(names) == COCO_NAMES else tuple(range(1, len(names) + 1))


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError) as error:
        raise ArtifactError(f"metadata 'names' has the damaged name {text[:60]}; correct the metadata") from error
