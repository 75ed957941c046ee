"""Python expressions in the configurations of detectron2, read without running them."""

import ast
from collections.abc import Mapping
from typing import Any

from lth_deploy.config.arithmetic import number

MAX_CHARACTERS = 4096


def literal(text: str) -> Any:
    """The value of a text that is a Python literal, such as "(60000, 80000)"; the text itself where it is none."""
    if len(text) > MAX_CHARACTERS:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def arithmetic(text: str) -> Any:
    """Lists of numbers from an expression of literals, arithmetic, and one loop over a list of numbers.

    That is what detectron2's own files write behind the tag `!!python/object/apply:eval`, for the sizes of anchors.

    Raises:
        ValueError: it is anything else.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"an expression of {len(text)} characters")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, {})
    except (SyntaxError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise ValueError(f"the expression {text[:80]!r}") from error


def _value(node: ast.expr, names: Mapping[str, float]) -> Any:
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, names) for item in items]
        case ast.ListComp(
            elt=item, generators=[ast.comprehension(target=ast.Name(id=name), iter=ast.List() as over, ifs=[])]
        ) if not names:
            return [_value(item, {name: one}) for one in _value(over, {})]
    return number(node, lambda name: _named(name, names), powers=True)


def _named(name: str, names: Mapping[str, float]) -> float:
    if name not in names:
        raise ValueError(f"the name '{name[:80]}'")
    return names[name]
