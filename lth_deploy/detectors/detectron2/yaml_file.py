"""Configurations of detectron2: YAML files that stand on each other, read as plain values.

A tag never makes an object: of `!!python/object/apply:eval` the arithmetic is read (see `literals`), of other tags what
stands behind them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lth_deploy.detectors.detectron2.literals import arithmetic, literal
from lth_deploy.errors import DataError

MAX_BYTES = 1 << 20
MAX_BASES = 16
BASE = "_BASE_"
_EVAL = "tag:yaml.org,2002:python/object/apply:eval"


@dataclass(frozen=True)
class Value:
    """A value of a configuration, and the file that says it."""

    value: Any
    file: Path


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads what stands behind a tag as plain values."""

    def untagged(self, suffix: str, node: yaml.Node) -> Any:
        """The plain value of a node with a tag that YAML does not know."""
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return self.construct_sequence(node, deep=True)
        return node.value

    def evaluated(self, node: yaml.Node) -> Any:
        """The numbers of an expression."""
        content = node.value[0] if isinstance(node, yaml.SequenceNode) and len(node.value) == 1 else node
        if not isinstance(content, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "an expression that is no text", node.start_mark)
        try:
            return arithmetic(content.value)
        except ValueError as error:
            fault = f"{error} is not run; write the numbers out"
            raise yaml.constructor.ConstructorError(None, None, fault, node.start_mark) from error


_Loader.add_multi_constructor("", _Loader.untagged)
_Loader.add_constructor(_EVAL, _Loader.evaluated)


def read_values(path: Path) -> dict[str, Value]:
    """Every value of a configuration and of those that it stands on, by its key path such as `MODEL.RPN.NMS_THRESH`.

    Raises:
        DataError: a file cannot be read, is too large, holds no keys, or stands on itself.
    """
    found: dict[str, Value] = {}
    for file, document in reversed(list(_documents(path))):
        found |= {key: Value(value, file) for key, value in _flat(document)}
    return found


def _documents(path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The file, then what it stands on, then what that stands on."""
    seen: list[Path] = []
    current: Path | None = path
    while current is not None:
        if current.resolve() in seen or len(seen) == MAX_BASES:
            raise DataError(f"{path}: {BASE} leads from {current} back to a file that stands on it; mend {BASE}")
        seen.append(current.resolve())
        document = _load(current)
        yield current, {key: value for key, value in document.items() if key != BASE}
        current = _base(current, document.get(BASE))


def _load(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".py":
        raise DataError(
            f"{path}: a LazyConfig is Python code, which only detectron2 itself runs; give a YAML configuration, or "
            "hold the ticket in detectron2's own trainer (docs/own_trainer.md) and give its ONNX file to export --onnx"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: has more than {MAX_BYTES:,} bytes; give a YAML configuration of detectron2")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the configuration {path}: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot read this YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no keys with values; give a YAML configuration of detectron2")
    return content


def _base(path: Path, base: Any) -> Path | None:
    if base is None:
        return None
    if not isinstance(base, str):
        raise DataError(f"{path}: {BASE} is {base!r:.60}; give the path of one YAML file")
    if "://" in base:
        raise DataError(f"{path}: {BASE} '{base}' is not a file; fetch it, and name the file in {BASE}")
    return path.parent / Path(base).expanduser()


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", literal(value) if isinstance(value, str) else value
