"""Sizes that are not known before a model runs, as expressions that can be compared."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quotient:
    """floor(inner / divisor), where that is no plain sum."""

    inner: "Dim"
    divisor: int


Atom = str | Quotient


@dataclass(frozen=True)
class Dim:
    """constant + sum of multiples of atoms; an atom is a name or a rounded quotient.

    Equal expressions denote equal sizes; different ones may still be equal at run time.
    """

    constant: int = 0
    terms: frozenset[tuple[Atom, int]] = field(default_factory=frozenset)

    @property
    def known(self) -> int | None:
        """The size, when it depends on nothing."""
        return None if self.terms else self.constant

    @property
    def complexity(self) -> int:
        """Orders sizes: what is known comes first, and twice a rounded half behind the whole."""
        return sum(abs(factor) for _, factor in self.terms)

    def __add__(self, other: "Dim | int") -> "Dim":
        other = of(other)
        sums = dict(self.terms)
        for atom, factor in other.terms:
            sums[atom] = sums.get(atom, 0) + factor
        return Dim(self.constant + other.constant, frozenset((a, f) for a, f in sums.items() if f))

    def __mul__(self, factor: int) -> "Dim":
        terms = frozenset((atom, f * factor) for atom, f in self.terms) if factor else frozenset()
        return Dim(self.constant * factor, terms)

    def __sub__(self, other: "Dim | int") -> "Dim":
        return self + of(other) * -1

    def __floordiv__(self, divisor: int) -> "Dim":
        whole = frozenset((atom, f // divisor) for atom, f in self.terms if f % divisor == 0)
        broken = frozenset((atom, f) for atom, f in self.terms if f % divisor)
        if not broken:
            return Dim(self.constant // divisor, whole)
        # What divides evenly leaves the floor, so that (x + 2) / 2 and x / 2 + 1 are the same.
        rest = Dim(self.constant % divisor, broken)
        return Dim(self.constant // divisor, whole) + Dim(0, frozenset({(_quotient(rest, divisor), 1)}))


def _quotient(rest: Dim, divisor: int) -> Quotient:
    # floor((floor(x / a) + b) / c) = floor((x + a b) / (a c))
    if len(rest.terms) == 1:
        ((atom, factor),) = rest.terms
        if factor == 1 and isinstance(atom, Quotient):
            inner = atom.inner + atom.divisor * rest.constant
            return Quotient(inner, atom.divisor * divisor)
    return Quotient(rest, divisor)


def of(size: "Dim | int") -> Dim:
    """A size as an expression."""
    return size if isinstance(size, Dim) else Dim(size)


def named(name: str) -> Dim:
    """The size of this name."""
    return Dim(0, frozenset({(name, 1)}))


def evaluate(size: Dim, nominal: dict[str, int], default: int) -> int:
    """The size when names have the given values, `default` where none is given."""
    total = size.constant
    for atom, factor in size.terms:
        if isinstance(atom, Quotient):
            total += factor * (evaluate(atom.inner, nominal, default) // atom.divisor)
        else:
            total += factor * nominal.get(atom, default)
    return total


def names_in(size: Dim) -> set[str]:
    """The names that a size depends on."""
    found: set[str] = set()
    for atom, _ in size.terms:
        found |= names_in(atom.inner) if isinstance(atom, Quotient) else {atom}
    return found
