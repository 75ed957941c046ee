"""YAML without its surprises: no duplicate keys, no aliases, no tags, and `1e-3` is a number.

Every value remembers the line it came from, so that a validation error can point there.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lth_deploy.errors import RecipeError

MAX_BYTES = 1 << 20
KeyPath = tuple[str | int, ...]

# YAML 1.1 reads 1e-3 as text because it wants a dot; people write it as a number.
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)$")
# YAML 1.1 reads yes/no/on/off as booleans and 12:30 as a base-60 number; YAML 1.2 does not.
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?[0-9]+$")


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
    """SafeLoader with YAML 1.2's scalars."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def parse(text: str, source: str) -> Document:
    """Parse one YAML document; `source` is the name used in errors.

    Raises:
        RecipeError: not YAML, too large, or it uses a duplicate key, an alias or a tag.
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{source}: {len(text)} characters, at most {MAX_BYTES} are read")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        if node is not None:
            _inspect(node, (), lines, source)
        value = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise RecipeError(f"{source}: nested too deeply") from error
    finally:
        loader.dispose()
    return Document(source, value, lines)


def load(path: Path) -> Document:
    """Parse the file at `path`.

    Raises:
        RecipeError: as `parse`, or the file cannot be read.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error


def dump(value: Any) -> str:
    """YAML text that `parse` reads back to an equal value."""
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)


def _inspect(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], source: str) -> None:
    """Record lines and refuse what the format does not allow, before anything is constructed."""
    line = node.start_mark.line + 1
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.endswith(("merge", "binary")):
        raise RecipeError(f"{source}, line {line}: tag {node.tag} is not allowed; write plain values")
    if path in lines and not isinstance(node, yaml.ScalarNode):
        raise RecipeError(f"{source}, line {line}: the same block appears twice")
    lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _refuse_alias(item, path, lines, source)
            _inspect(item, (*path, position), lines, source)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            key_line = key.start_mark.line + 1
            name = str(key.value)
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise RecipeError(f"{source}, line {key_line}: keys are plain words, found '{name}'")
            if name in seen:
                raise RecipeError(f"{source}, line {key_line}: key '{name}' is given twice; keep one")
            seen.add(name)
            _refuse_alias(item, path, lines, source)
            _inspect(item, (*path, name), lines, source)
            lines[(*path, name)] = key_line


def _refuse_alias(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], source: str) -> None:
    """An alias composes to the very same node object a second time; mark nodes when they are first met."""
    if getattr(node, "lth_seen", False):
        where = ".".join(str(part) for part in path) or "the top level"
        raise RecipeError(f"{source}: an alias (*name) is used under {where}; write the value out")
    node.lth_seen = True  # type: ignore[attr-defined]
