"""YAML without its surprises: no duplicate keys, no aliases, no tags, and `1e-3` is a number.

Every value remembers the line it came from, so that a validation error can point there.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from lth_deploy.errors import RecipeError

MAX_BYTES = 1 << 20
KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# The scalars of YAML 1.2's core schema. YAML 1.1, which PyYAML reads, takes 1e-3 for text, yes and on for booleans,
# 12:30 for a number to the base of 60, and 010 for eight.
_SCALARS = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    "float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+0123456789."),
    ),
}

PLAIN_TAGS = frozenset(_TAG + name for name in (*_SCALARS, "str", "seq", "map"))
"""Tags of nodes that are plain values."""


@dataclass(frozen=True)
class Document:
    """A parsed file: plain values, and the line (from 1) of every key path in it."""

    source: str
    value: Any
    lines: dict[KeyPath, int]

    def line_of(self, path: KeyPath) -> int:
        """The line of the deepest part of `path` that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars, without aliases and tags."""

    tags = False

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what says more than a plain value, while the line is still known.

        Raises:
            ComposerError: an alias or a tag.
        """
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            fault = f"the alias *{event.anchor} is not allowed; write the value out"
        elif getattr(event, "tag", None) is not None and not self.tags:
            fault = f"the tag {event.tag} is not allowed; write a plain value"
        else:
            return super().compose_node(parent, index)
        raise ComposerError(None, None, fault, event.start_mark)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """A decimal number: 010 is ten."""
        return int(node.value)

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Python's number, once the dot before inf and nan is off."""
        return _float(node.value)


class _TaggedLoader(_Loader):
    """The same for files whose tags are names. It composes nodes and makes no values of them."""

    tags = True


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what either YAML 1.1 or `_Loader` would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out wherever it stands, because aliases are not read."""
        return True


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_int)
_Loader.add_constructor(f"{_TAG}float", _Loader.construct_float)


def parse(text: str, source: str) -> Document:
    """Parse one YAML document; `source` is the name used in errors.

    Raises:
        RecipeError: not YAML, too large, or it uses a duplicate key, an alias or a tag.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{source}: {len(text)} characters, at most {MAX_BYTES} are read")
    with _faults(source):
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[KeyPath, int] = {}
            if node is not None:
                _inspect(node, (), lines, source)
            value = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    return Document(source, value, lines)


def compose_tagged(text: str, source: str) -> yaml.Node | None:
    """The nodes of a YAML document that may have tags, of which nothing is made; see `parse` for what is raised."""
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{source}: {len(text)} characters, at most {MAX_BYTES} are read")
    with _faults(source):
        loader = _TaggedLoader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    return node


def scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """The plain value of a scalar without a tag of its own."""
    kind, text = node.tag.removeprefix(_TAG), node.value
    if kind == "int":
        return int(text)
    if kind == "float":
        return _float(text)
    if kind == "bool":
        return str(text).lower() == "true"
    return None if kind == "null" else str(text)


@contextmanager
def _faults(source: str) -> Iterator[None]:
    """Turn what a reader of YAML raises into one sentence about the file."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(f"{source}{where}: cannot read this YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: cannot read this YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise RecipeError(f"{source}: nested too deeply; a recipe has four levels") from error
    except ValueError as error:
        raise RecipeError(f"{source}: a number has thousands of digits; shorten it") from error


def load(path: Path) -> Document:
    """Parse the file at `path`.

    Raises:
        RecipeError: as `parse`, or the file cannot be read.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error


def _float(text: str) -> float:
    text = text.lower()
    return float(text.replace(".", "") if text[-1] in "fn" else text)


def dump(value: Any) -> str:
    """YAML text that `parse` reads back to an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=100)


def _inspect(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], source: str) -> None:
    """Record lines, and refuse keys that are no plain words or are given twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _inspect(item, (*path, position), lines, source)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            where = f"{source}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{where}: keys are plain words, found a list or a mapping")
            if key.tag != f"{_TAG}str":
                raise RecipeError(f"{where}: keys are plain words, found '{key.value}'; put it in quotes")
            if key.value in seen:
                raise RecipeError(f"{where}: key '{key.value}' is given twice; keep one")
            seen.add(key.value)
            lines[(*path, key.value)] = key.start_mark.line + 1
            _inspect(item, (*path, key.value), lines, source)
