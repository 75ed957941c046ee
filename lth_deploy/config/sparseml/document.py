"""The modifiers of a SparseML recipe, in either dialect: tags (`- !GMPruningModifier`), or names under a stage.

A tag is a name and nothing else: no object is ever made from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lth_deploy.config import strict_yaml
from lth_deploy.config.sparseml.expressions import evaluate
from lth_deploy.errors import RecipeError

_RENAMED = {"start": "start_epoch", "end": "end_epoch", "targets": "params", "mask_structure": "mask_type"}
"""What the dialect of stages calls otherwise."""
_STAGE = "_stage"
_MODIFIERS = "modifiers"


@dataclass(frozen=True)
class Modifier:
    """One modifier: its name, the line that names it, its values, and the line of each."""

    name: str
    line: int
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def line_of(self, key: str) -> int:
        """The line of a value, or of the modifier where it is not given."""
        return self.lines.get(key, self.line)


@dataclass(frozen=True)
class SparseMLRecipe:
    """The modifiers of a file, in its order. source: its name in messages. staged: whether it is of the new dialect."""

    source: str
    modifiers: tuple[Modifier, ...]
    staged: bool


@dataclass(frozen=True)
class _Entry:
    """A mapping with the lines of its keys; `tag` names a modifier of the first dialect."""

    tag: str
    line: int
    values: dict[str, Any]
    lines: dict[str, int]


def load(path: Path) -> SparseMLRecipe:
    """Read a recipe of SparseML, or the front matter of a Markdown file.

    Raises:
        RecipeError: the file cannot be read, or is no such recipe; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> SparseMLRecipe:
    """The recipe in `text`; see `load`."""
    node = strict_yaml.compose_tagged(_front_matter(text, source), source)
    try:
        top = _plain(node, source) if node is not None else None
    except RecursionError as error:
        raise RecipeError(f"{source}: nested too deeply; a recipe of SparseML has six levels") from error
    except ValueError as error:
        raise RecipeError(f"{source}: a number has thousands of digits; shorten it") from error
    if not isinstance(top, _Entry):
        raise RecipeError(f"{source}: no recipe of SparseML: keys with values are needed")
    found = list(_modifiers(top, _numbers(top), source))
    if not found:
        raise RecipeError(
            f"{source}: no modifiers found: neither a list such as 'modifiers: [- !GMPruningModifier ...]' nor a stage "
            "such as 'pruning_stage: pruning_modifiers: MagnitudePruningModifier: ...'"
        )
    staged = any(isinstance(value, _Entry) for value in top.values.values())
    return SparseMLRecipe(source, tuple(found), staged)


def _front_matter(text: str, source: str) -> str:
    """The YAML of a file, on its own lines: all of it, or what stands between the first two lines of `---`."""
    lines = text.splitlines()
    bars = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if not bars or any(line.strip() for line in lines[: bars[0]]):
        return text
    if len(bars) == 1:
        if source.endswith(".md"):
            raise RecipeError(f"{source}, line {bars[0] + 1}: the front matter has no end; close it with a line ---")
        return text
    return "\n" * (bars[0] + 1) + "\n".join(lines[bars[0] + 1 : bars[1]])


def _plain(node: yaml.Node, source: str) -> Any:
    """A node as plain values; mappings keep their lines, and tags of modifiers their names."""
    line = node.start_mark.line + 1
    tag = node.tag.removeprefix("!") if node.tag.startswith("!") else ""
    if not tag and node.tag not in strict_yaml.PLAIN_TAGS:
        raise RecipeError(f"{source}, line {line}: the tag {node.tag} names no modifier; write !NameOfTheModifier")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, source) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        # A modifier without values is a tag and nothing behind it.
        return _Entry(tag, line, {}, {}) if tag else strict_yaml.scalar(node)
    assert isinstance(node, yaml.MappingNode)
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, item in node.value:
        where = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{source}, line {where}: keys are plain words, found a list or a mapping")
        if key.value in values:
            raise RecipeError(f"{source}, line {where}: key '{key.value}' is given twice; keep one")
        values[key.value], lines[key.value] = _plain(item, source), where
    return _Entry(tag, line, values, lines)


def _numbers(top: _Entry) -> dict[str, Any]:
    """Values at the top of the file, which expressions may name."""
    return {key: value for key, value in top.values.items() if isinstance(value, int | float | str)}


def _modifiers(entry: _Entry, numbers: Mapping[str, Any], source: str) -> Iterator[Modifier]:
    for key, value in entry.values.items():
        line = entry.lines[key]
        if isinstance(value, list) and any(isinstance(item, _Entry) and item.tag for item in value):
            for item in value:
                if not isinstance(item, _Entry) or not item.tag:
                    raise RecipeError(f"{source}, line {line}: '{key}' holds something else than modifiers (- !Name)")
                yield _modifier(item.tag, item, numbers, source)
        elif isinstance(value, _Entry) and key.endswith(_MODIFIERS):
            for name, body in value.values.items():
                where = value.lines[name]
                if not isinstance(body, _Entry | None):
                    raise RecipeError(f"{source}, line {where}: {name} holds no keys with values")
                yield _modifier(name, body or _Entry("", where, {}, {}), numbers, source, where)
        elif isinstance(value, _Entry) and (key.endswith(_STAGE) or not value.tag):
            yield from _modifiers(value, {**numbers, **_numbers(value)}, source)


def _modifier(name: str, entry: _Entry, numbers: Mapping[str, Any], source: str, line: int | None = None) -> Modifier:
    renamed = {key: _RENAMED.get(key, key) for key in entry.values}
    values = {
        renamed[key]: evaluate(_without_lines(value), numbers, f"{source}, line {entry.lines[key]}: {name}.{key}")
        for key, value in entry.values.items()
    }
    lines = {renamed[key]: where for key, where in entry.lines.items()}
    return Modifier(name, entry.line if line is None else line, values, lines)


def _without_lines(value: Any) -> Any:
    if isinstance(value, _Entry):
        return {key: _without_lines(item) for key, item in value.values.items()}
    return [_without_lines(item) for item in value] if isinstance(value, list) else value
