"""Figures as people read them: AP times 100, decimal units, real minus signs. None is a dash."""

MISSING = "\u2013"
MINUS = "\u2212"
TIMES = "\u00d7"


def ap(fraction: float | None) -> str:
    """AP on the 0-100 scale with one decimal."""
    return MISSING if fraction is None else f"{fraction * 100:.1f}"


def points(difference: float | None) -> str:
    """A difference of two AP fractions in signed points."""
    if difference is None:
        return MISSING
    text = f"{difference * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def percent(share: float | None, decimals: int = 1) -> str:
    """A share in per cent; never rounded up to 100 or down to 0 when it is neither."""
    if share is None:
        return MISSING
    text = f"{share * 100:.{decimals}f}"
    if float(text) >= 100 > share * 100:
        return f">{100 - 10.0**-decimals:.{decimals}f} %"
    return f"{text} %"


def size(count: float | None) -> str:
    """Bytes in decimal units with three digits."""
    if count is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{three_digits(count / factor)} {unit}"
    return f"{count:.0f} B"


def milliseconds(value: float | None) -> str:
    """A time in ms with three digits, without the unit."""
    return MISSING if value is None else three_digits(value)


def times(ratio: float | None) -> str:
    """A factor."""
    return MISSING if ratio is None else f"{ratio:.2f}{TIMES}"


def duration(seconds: float | None) -> str:
    """Hours, minutes or seconds, the two largest that matter."""
    if seconds is None or seconds < 0:
        return MISSING
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def threads(number: int | None) -> str:
    """A number of threads in words."""
    return "threads unknown" if number is None else f"{number} thread{'' if number == 1 else 's'}"


def count(number: float | None) -> str:
    """A whole number with thin spaces between thousands."""
    return MISSING if number is None else f"{number:,.0f}".replace(",", "\u202f")


def three_digits(value: float) -> str:
    """At least three significant digits, no exponent."""
    magnitude = abs(value)
    decimals = 0 if magnitude >= 99.95 else 1 if magnitude >= 9.995 else 2 if magnitude >= 0.9995 else 3
    return f"{value:.{decimals}f}"
