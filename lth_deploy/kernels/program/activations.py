"""The activations of region programs: one table of what each is called, takes and computes.

An entry has all that Python needs of an activation. The slope bounds how much a function stretches an error of its
argument; the roundings are what the kernels' float32 arithmetic may add, in units of 2**-24 of the argument and of the
offset: the magnitude of a result near an argument of zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lth_deploy.kernels.program.limits import require
from lth_deploy.kernels.program.values import Act

Float = npt.NDArray[np.float64]
Numbers = tuple[float, ...]

_TRANSCENDENTAL = 64.0
"""Roundings that the kernels' exponential and division may cost together."""


@dataclass(frozen=True)
class Activation:
    """An entry of the table.

    function: exact values, of the argument and the numbers. numbers: how many it takes. slope, roundings, offset: see
    above. grows: it has no bound of its slope, and its roundings are relative to its result; it never falls.
    clamp: least and largest value of an activation that does nothing but clamp; None of others. since: the first
    version of the program that has it.
    """

    name: str
    function: Callable[[Float, Numbers], Float]
    numbers: int = 0
    slope: Callable[[Numbers], float] = lambda numbers: 1.0
    roundings: Callable[[Numbers], float] = lambda numbers: 0.0
    offset: Callable[[Numbers], float] = lambda numbers: 0.0
    clamp: Callable[[Numbers], tuple[float, float]] | None = None
    grows: bool = False
    since: int = 1


def _silu(x: Float, _: Numbers) -> Float:
    return np.asarray(x * (0.5 * (1 + np.tanh(0.5 * x))))


def _gelu(x: Float, _: Numbers) -> Float:
    # By the complement, which loses no digits where x is far below zero.
    complement = np.asarray(np.frompyfunc(math.erfc, 1, 1)(-x / math.sqrt(2)), np.float64)
    return np.asarray(0.5 * x * complement)


def _gelu_tanh(x: Float, _: Numbers) -> Float:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)))


def _exp(x: Float, _: Numbers) -> Float:
    """Infinite where float32 is."""
    with np.errstate(over="ignore"):
        return np.exp(x).astype(np.float32).astype(np.float64)


def _mish(x: Float, _: Numbers) -> Float:
    return np.asarray(x * np.tanh(np.logaddexp(0, x)))


def _elu(x: Float, numbers: Numbers) -> Float:
    return np.where(x > 0, x, numbers[0] * np.expm1(np.minimum(x, 0)))


_ENTRIES = (
    Activation("none", lambda x, _: x, clamp=lambda _: (-np.inf, np.inf)),
    Activation("relu", lambda x, _: np.maximum(x, 0), clamp=lambda _: (0.0, np.inf)),
    Activation(
        "leaky",
        lambda x, numbers: np.where(x < 0, numbers[0] * x, x),
        numbers=1,
        slope=lambda numbers: max(1.0, abs(numbers[0])),
        roundings=lambda numbers: abs(numbers[0]),
    ),
    Activation(
        "clip",
        lambda x, numbers: np.clip(x, numbers[0], numbers[1]),
        numbers=2,
        clamp=lambda numbers: (numbers[0], numbers[1]),
    ),
    Activation("silu", _silu, slope=lambda _: 1.1, roundings=lambda _: _TRANSCENDENTAL),
    Activation(
        "hardswish",
        lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
        slope=lambda _: 1.5,
        roundings=lambda _: 8.0,
    ),
    Activation("gelu", _gelu, slope=lambda _: 1.13, roundings=lambda _: _TRANSCENDENTAL, since=2),
    Activation("gelu_tanh", _gelu_tanh, slope=lambda _: 1.13, roundings=lambda _: _TRANSCENDENTAL, since=2),
    Activation(
        "sigmoid",
        lambda x, _: 0.5 * (1 + np.tanh(0.5 * x)),
        slope=lambda _: 0.25,
        roundings=lambda _: _TRANSCENDENTAL,
        offset=lambda _: 1.0,
        since=3,
    ),
    Activation(
        "hardsigmoid",
        lambda x, numbers: np.clip(numbers[0] * x + numbers[1], 0, 1),
        numbers=2,
        slope=lambda numbers: abs(numbers[0]),
        roundings=lambda numbers: 4 * max(1.0, abs(numbers[0])),
        offset=lambda numbers: abs(numbers[1]),
        since=3,
    ),
    Activation("tanh", lambda x, _: np.tanh(x), roundings=lambda _: _TRANSCENDENTAL, offset=lambda _: 1.0, since=3),
    Activation("exp", _exp, roundings=lambda _: _TRANSCENDENTAL, grows=True, since=3),
    Activation("mish", _mish, slope=lambda _: 1.1, roundings=lambda _: _TRANSCENDENTAL, since=3),
    Activation(
        "elu",
        _elu,
        numbers=1,
        slope=lambda numbers: max(1.0, abs(numbers[0])),
        roundings=lambda numbers: _TRANSCENDENTAL * max(1.0, abs(numbers[0])),
        offset=lambda _: 1.0,
        since=3,
    ),
    Activation(
        "linear",
        lambda x, numbers: numbers[0] * x + numbers[1],
        numbers=2,
        slope=lambda numbers: abs(numbers[0]),
        roundings=lambda numbers: 2 * max(1.0, abs(numbers[0])),
        offset=lambda numbers: abs(numbers[1]),
        since=3,
    ),
    Activation(
        "relu_linear",
        lambda x, numbers: numbers[0] * np.maximum(x, 0) + numbers[1],
        numbers=2,
        slope=lambda numbers: abs(numbers[0]),
        roundings=lambda numbers: 2 * max(1.0, abs(numbers[0])),
        offset=lambda numbers: abs(numbers[1]),
        since=6,
    ),
    Activation(
        "quotient",
        lambda x, numbers: x / numbers[0],
        numbers=1,
        slope=lambda numbers: 1 / abs(numbers[0]),
        roundings=lambda numbers: 1 / abs(numbers[0]),
        since=3,
    ),
)

ACTIVATIONS: dict[str, Activation] = {entry.name: entry for entry in _ENTRIES}
"""Every activation by its name in a program."""


IN_REGISTERS = frozenset({"relu", "leaky", "clip"})
"""Activations that cost a layer nothing: kernels apply them while its accumulators are in registers."""


def activation_of(act: Act) -> Activation:
    """The entry of an activation."""
    return ACTIVATIONS[act.kind]


def check_act(act: Act) -> None:
    """The activation exists, and has as many finite numbers as it takes.

    Raises:
        RuleError: it does not.
    """
    entry = ACTIVATIONS.get(act.kind)
    require(entry is not None and len(act.numbers) == entry.numbers, "the activation is malformed")
    with np.errstate(over="ignore"):
        finite = all(bool(np.isfinite(np.float32(number))) for number in act.numbers)
    require(finite, "a number of the activation is not finite")
    require(act.kind != "quotient" or bool(np.float32(act.numbers[0])), "the divisor of quotient is zero")
    require(act.kind != "clip" or act.numbers[0] <= act.numbers[1], "the bounds of clip are the wrong way round")


def rounded_numbers(act: Act) -> Numbers:
    """The numbers of an activation as the float32 that kernels compute with."""
    return tuple(float(np.float32(number)) for number in act.numbers)
