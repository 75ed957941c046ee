"""Damage to what JSON and YAML hold: values of another type or size, keys that are missing, new or exchanged."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.fuzz.mutate_bytes import TEXTS, damaged

NUMBERS = (0, -1, 1, 2, 0.5, -0.5, 1e-300, 1e30, 2**31, 2**53 + 1, 2**63, 10**30, float("inf"), float("nan"), -0.0)
_LITERALS = ("9" * 5000, "1e999", "-1e999", "1" + "0" * 400 + ".5", '"\\ud800"', "[" * 3000 + "]" * 3000)
_MARK = "literal-number-"

Path = tuple[str | int, ...]
"""Keys and positions that lead from the root of a tree to a value."""


def damaged_tree(tree: Any, random: Random) -> Any:
    """A copy with one to four changes."""
    tree = copy.deepcopy(tree)
    for _ in range(1 if random.random() < 0.7 else random.randint(2, 4)):
        tree = _changed(tree, random)
    return tree


def damaged_json(tree: Any, random: Random) -> bytes:
    """JSON of a damaged tree; now and then of text that is no JSON."""
    kind = random.random()
    if kind < 0.1:
        return damaged(json.dumps(tree).encode(), random)
    text = json.dumps(damaged_tree(tree, random), ensure_ascii=random.random() < 0.9)
    return with_literals(text).encode("utf-8", "surrogatepass")


def with_literals(text: str) -> str:
    """Numbers and texts that a serializer would refuse to write."""
    for number, literal in enumerate(_LITERALS):
        text = text.replace(f'"{_MARK}{number}"', literal).replace(f"{_MARK}{number}", literal)
    return text


def _changed(tree: Any, random: Random) -> Any:
    paths = list(_paths(tree))
    path = random.choice(paths)
    if not path:
        return _value(tree, random) if random.random() < 0.3 else tree
    parent, key = _at(tree, path[:-1]), path[-1]
    kind = random.randrange(8)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[random.choice([*TEXTS, *map(str, parent), "extra"])] = parent.pop(key)
    elif kind == 1:
        parent.extend(copy.deepcopy(parent[key]) for _ in range(random.choice((1, 2, 50))))
    elif kind == 2:
        parent[key] = copy.deepcopy(_at(tree, random.choice(paths)))
    elif kind == 3 and isinstance(parent, dict):
        parent[random.choice(["extra", "__class__", "", "id", *TEXTS])] = _value(parent[key], random)
    else:
        parent[key] = _value(parent[key], random)
    return tree


def _value(old: Any, random: Random) -> Any:
    """Something else in the place of `old`: often of its type, so that it gets past the first check."""
    if random.random() < 0.5:
        if isinstance(old, bool):
            return not old
        if isinstance(old, int | float):
            return random.choice([*NUMBERS, -old, old + 1, old * 1000, old + 0.5, str(old)])
        if isinstance(old, str):
            return random.choice([*TEXTS, old.upper(), old + " ", old[:-1], old * 300])
        if isinstance(old, list):
            return random.choice([[], old * 2, old[::-1], [old], old[:1]])
        if isinstance(old, dict):
            return random.choice([{}, [old], list(old)])
    simple = [None, True, False, [], {}, [[]], [None], {"a": 1}, 10**30]
    marks = [f"{_MARK}{number}" for number in range(len(_LITERALS))]
    return random.choice([*simple, *NUMBERS, *TEXTS, *marks])


def _paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree
