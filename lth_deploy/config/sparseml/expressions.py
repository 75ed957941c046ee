"""The arithmetic of SparseML recipes, `eval(num_epochs * 0.8)`: numbers, names of other values, and four operations."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from lth_deploy.errors import RecipeError

_EXPRESSION = re.compile(r"\s*eval\((.*)\)\s*", re.DOTALL)
_LONGEST = 200
_DEEPEST = 16
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


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
        found = _value(ast.parse(text.strip(), mode="eval").body, numbers, where, depth)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise RecipeError(fault) from error
    if not math.isfinite(found):
        raise RecipeError(fault)
    return found


def _value(node: ast.expr, numbers: Mapping[str, Any], where: str, depth: int) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.Name) and node.id in numbers:
        named = numbers[node.id]
        match = _EXPRESSION.fullmatch(named) if isinstance(named, str) else None
        if match is not None:
            return _number(match[1], numbers, where, depth + 1)
        if isinstance(named, int | float) and not isinstance(named, bool):
            return named
        raise ValueError(f"'{node.id}' is no number")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, numbers, where, depth)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = (_value(side, numbers, where, depth) for side in (node.left, node.right))
        return _OPERATIONS[type(node.op)](left, right)
    raise ValueError("no arithmetic")
