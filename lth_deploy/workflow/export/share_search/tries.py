"""What was measured at one share of zeros, and the table of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lth_deploy.evaluation.ap_loss import surely_above


@dataclass(frozen=True)
class Try:
    """One share of zeros. AP as fractions.

    percent: the share that was asked for. zeros: what came of it, over the weights of all layers. float_ap: of an int8
    model, AP of the floats that it is made from. ap: of the model; None where the floats lost too much already, so that
    nothing was quantized. int8_low: lower end of the 95 % interval of what int8 costs.
    """

    percent: int
    zeros: float
    float_ap: float | None
    ap: float | None
    int8_low: float | None = None

    @property
    def last_ap(self) -> float | None:
        """The AP that decides."""
        return self.float_ap if self.ap is None else self.ap


@dataclass(frozen=True)
class Bounds:
    """most_drop: AP that may be lost to the dense model. int8_drop: of that, by int8; None for floats."""

    dense_ap: float
    most_drop: float
    int8_drop: float | None = None

    def drop(self, ap: float | None) -> float | None:
        """What an AP lost."""
        return None if ap is None else self.dense_ap - ap

    def lost(self, ap: float | None) -> bool:
        """Whether too much is lost, or there is no AP."""
        drop = self.drop(ap)
        return drop is None or drop > self.most_drop

    def keeps(self, one: Try, *, strict: bool = False) -> bool:
        """Whether a try keeps AP. strict: a loss by int8 is taken as it is, though it may be chance."""
        if self.int8_drop is None or one.ap is None or one.float_ap is None:
            return not self.lost(one.ap)
        low = None if strict else one.int8_low
        return not self.lost(one.ap) and not surely_above(one.float_ap - one.ap, low, self.int8_drop)

    def decides(self, one: Try) -> bool:
        """Whether what was measured tells if it keeps: floats that lose more than an older bound may be within this."""
        return one.ap is not None or self.lost(one.float_ap)

    def verdict(self, one: Try) -> str:
        """In words, whether a try keeps AP, and why not."""
        if self.keeps(one):
            return "kept"
        if self.lost(one.last_ap):
            return "lost" if self.int8_drop is None or one.ap is not None else "lost before int8"
        return "int8 costs too much"


@dataclass(frozen=True)
class ShareSearch:
    """A finished search. percent: the share that was chosen."""

    percent: int
    bounds: Bounds
    tries: tuple[Try, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "ShareSearch":
        """The search that has this record."""
        return cls(record["percent"], Bounds(**record["bounds"]), tuple(Try(**one) for one in record["tries"]))

    def sentence(self) -> str:
        """What was found."""
        chosen = next(one for one in self.tries if one.percent == self.percent)
        return (
            f"{self.percent} % zeros is the largest share that keeps AP within {100 * self.bounds.most_drop:g} points "
            f"of {_points(self.bounds.dense_ap)}: {_points(chosen.ap)}"
        )


def try_rows(bounds: Bounds, tries: Sequence[Try]) -> list[list[str]]:
    """A table of tries by their share, header first."""
    int8 = bounds.int8_drop is not None
    header = ["asked %", "zeros %", *(["float AP"] if int8 else []), "AP", "lost", "verdict"]
    rows = [
        [
            str(one.percent),
            f"{100 * one.zeros:.1f}",
            *([_points(one.float_ap)] if int8 else []),
            _points(one.ap),
            _points(bounds.drop(one.last_ap)),
            bounds.verdict(one),
        ]
        for one in sorted(tries, key=lambda one: one.percent)
    ]
    return [header, *rows]


def try_sentence(bounds: Bounds, one: Try) -> str:
    """What a log line says of a try."""
    return (
        f"{one.percent} % zeros: AP {_points(one.last_ap)}, {_points(bounds.drop(one.last_ap))} lost: "
        f"{bounds.verdict(one)}"
    )


def _points(ap: float | None) -> str:
    return "-" if ap is None else f"{100 * ap:.1f}"
