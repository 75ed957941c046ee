"""What an operator has to do, in amounts that have a rate each: multiplications, values that are read and written.

A time is the sum of amounts times their rates. Amounts of a layer are called CLASS.TERM, such as `conv.macs`; those of
other operators have the name of the operator. Times are fitted to the same amounts that they are predicted from.
"""

from collections.abc import Mapping

Amounts = Mapping[str, float]
"""How much there is of each amount."""

Nanoseconds = Mapping[str, float]
"""The rate of each amount: nanoseconds for one of it."""

_INT8, _BF16, _PLAIN = "int8 ", "bf16 ", "plain "

CALL = "call"
"""Of any operator: that it runs at all."""

FAR = "far"
"""Of any operator: bytes that it reads and writes, where they are more than a cache near the core holds."""

_NEAR_BYTES = 1 << 20

REGION, RUN = "region", "run"
"""Of any region, and of any inference: what is no operator of it."""

_STAND_INS = {
    "rows": "pointwise",
    "transposed": "conv",
    "interleave": "store",
    "loadrows": "load",
    "loadtokens": "load",
    "storerows": "store",
    "qresidual": "qadd",
}
"""Amounts that nobody measured yet, by the part of their names before the dot, and those whose rates they take."""

_OPTIONAL = (FAR, REGION, RUN)
"""Amounts that older tables do not have."""

_OTHER, _OTHER_INT8 = "silu", "int8 requantize"
"""Of an operator or activation of the kernels without a rate: for each value as much as these."""


def far(read_and_written: float) -> dict[str, float]:
    """The amount of an operator for bytes that come from far away; none where they are few."""
    return {FAR: read_and_written} if read_and_written > _NEAR_BYTES else {}


def rate_of(name: str, rates: Nanoseconds) -> float | None:
    """The rate of an amount, or of one that is like it; None where there is none."""
    if name in rates:
        return rates[name]
    prefix = next((one for one in (_INT8, _BF16, _PLAIN) if name.startswith(one)), "")
    kind, dot, term = name.removeprefix(prefix).partition(".")
    like = rates.get(f"{prefix}{_STAND_INS.get(kind, kind)}{dot}{term}")
    # Where no bf16 was measured, it is as fast as float32. Older tables do not tell the stock runtime's layouts apart.
    return rate_of(name.removeprefix(prefix), rates) if like is None and prefix in (_BF16, _PLAIN) else like


def is_int8(name: str) -> bool:
    """Whether an amount belongs to operators on quantized tensors alone."""
    return name.startswith(_INT8)


def rates_bf16(rates: Nanoseconds) -> bool:
    """Whether layers that multiply in bf16 have rates of their own."""
    return any(name.startswith(_BF16) for name in rates)


def milliseconds(amounts: Amounts, rates: Nanoseconds) -> float:
    """What amounts take; one without a rate takes as long as others of its kind, or nothing."""
    total = 0.0
    for name, amount in amounts.items():
        rate = rate_of(name, rates)
        if rate is None and "." not in name and name not in _OPTIONAL:
            rate = rates.get(_OTHER_INT8 if name.startswith(_INT8) else _OTHER)
        total += amount * (rate or 0.0)
    return total / 1e6


def is_rated(amounts: Amounts, rates: Nanoseconds) -> bool:
    """Whether each of the amounts has a rate; of a layer its multiplications must have one, since tables gain terms."""
    return all(name in _OPTIONAL or rate_of(_judged_by(name), rates) is not None for name in amounts)


def _judged_by(name: str) -> str:
    layer, dot, _ = name.rpartition(".")
    return f"{layer}.macs" if dot else name
