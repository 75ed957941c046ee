"""Arithmetic in the files of other tools, worked out without running anything."""

import ast
import operator
from collections.abc import Callable, Mapping

_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def number(node: ast.expr, named: Callable[[str], float], *, powers: bool = False) -> float:
    """The number that a parsed expression of numbers, names, + - * / and, where they are allowed, powers stands for.

    named: the number of a name; raises ValueError where there is none.

    Raises:
        ValueError: it is anything else. ArithmeticError: a division by zero, or a number that is too large.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return named(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -number(operand, named, powers=powers)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATIONS:
            sides = (number(side, named, powers=powers) for side in (left, right))
            return _OPERATIONS[type(sign)](*sides)
        case ast.BinOp(left=left, op=ast.Pow(), right=right) if powers:
            return _power(*(number(side, named, powers=True) for side in (left, right)))
    raise ValueError(f"'{ast.unparse(node)[:80]}' is no arithmetic")


def _power(base: float, exponent: float) -> float:
    # As floats, so that it cannot fill the memory.
    found = float(base) ** float(exponent)
    if isinstance(found, complex):
        raise ValueError("a root of a negative number")
    return float(found)
