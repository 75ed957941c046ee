"""The arithmetic of SparseML recipes, `eval(num_epochs * 0.8)`: numbers, names of other values, and four operations."""

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

from lth_deploy.config.arithmetic import number
from lth_deploy.errors import RecipeError

_EXPRESSION = re.compile(r"\s*eval\((.*)\)\s*", re.DOTALL)
_LONGEST = 200
_DEEPEST = 16


def evaluate(value: Any, numbers: Mapping[str, Any], where: str) -> Any:
    """`value` with every `eval(...)` in it worked out; other values as they are.

    Raises:
        RecipeError: an expression is more than arithmetic, or names what the file does not define; begins with `where`.
    """
    if isinstance(value, list):
        return [evaluate(item, numbers, where) for item in value]
    match = _EXPRESSION.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else _number(match[1], numbers, where, 0)


def _number(text: str, numbers: Mapping[str, Any], where: str, depth: int) -> float:
    fault = (
        f"{where}: cannot work out 'eval({text[:60]})': it may hold numbers, names of values in this file and + - * /"
    )
    if len(text) > _LONGEST or depth > _DEEPEST:
        raise RecipeError(fault)
    try:
        expression = ast.parse(text.strip(), mode="eval").body
        found = number(expression, lambda name: _named(name, numbers, where, depth))
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise RecipeError(fault) from error
    if not math.isfinite(found):
        raise RecipeError(fault)
    return found


def _named(name: str, numbers: Mapping[str, Any], where: str, depth: int) -> float:
    """The number of a name, which may be an expression of its own.

    Raises:
        ValueError: it is no number.
    """
    value = numbers.get(name)
    match = _EXPRESSION.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        return _number(match[1], numbers, where, depth + 1)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError(f"'{name}' is no number")
