"""Python expressions in the configurations of detectron2, read without running them."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

MAX_CHARACTERS = 4096
_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


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
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, names) for item in items]
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATIONS:
            # As floats, so that a power cannot fill the memory.
            operation = _OPERATIONS[type(sign)]
            return _real(operation(float(_value(left, names)), float(_value(right, names))))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.ListComp(
            elt=item, generators=[ast.comprehension(target=ast.Name(id=name), iter=ast.List() as over, ifs=[])]
        ) if not names:
            return [_value(item, {name: number}) for number in _value(over, {})]
    raise ValueError(f"the expression {ast.unparse(node)[:80]!r}")


def _real(value: float | complex) -> float:
    """A power of a negative number may be complex.

    Raises:
        ValueError: it is.
    """
    if isinstance(value, complex):
        raise ValueError("a root of a negative number")
    return value
