"""How much of a model lies inside regions, what cut them apart, and what is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from onnx import ModelProto

    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata

_NAMED = 6
"""What is left out is named so often, the longest first."""

_LEAST_MS = 0.005
"""What takes less prints as nothing."""


class Row(Protocol):
    """A weight layer, as `LayerRow` has it."""

    @property
    def name(self) -> str:
        """The name of its weight."""

    @property
    def elements(self) -> int:
        """Elements of its weight."""

    @property
    def positions(self) -> int | None:
        """Multiplications of each of them in one inference."""

    @property
    def region(self) -> str | None:
        """The operator that computes it with the kernel library."""

    @property
    def dense_because(self) -> str | None:
        """Why none does."""

    @property
    def predicted_ms(self) -> tuple[float, float] | None:
        """Milliseconds on one thread, sparse and dense."""


@dataclass(frozen=True)
class Coverage:
    """The share of a dense inference that lies inside regions, on one thread.

    share: of `measure`, predicted "time" or "MACs"; of time, what is no layer is counted where a profile was made, and
    `whole` is True. regions: how many there are. cuts: nodes between regions by operator. left_out: milliseconds of
    what stays outside, layers by name and everything else by operator, the longest first; empty where only MACs are
    known. reasons: why a layer of these does.
    """

    share: float
    measure: str
    whole: bool
    regions: int
    cuts: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def coverage_of(model: "ModelProto", rows: Sequence[Row], metadata: "ArtifactMetadata | None") -> Coverage | None:
    """The coverage of a file; None without regions, or where nothing says how long its layers take."""
    from lth_deploy.compiler.planning.region_borders import region_cutters

    regions, cutters = region_cutters(model)
    if not regions:
        return None
    cuts = dict(cutters.most_common())
    times = {row.name: row.predicted_ms[1] for row in rows if row.predicted_ms is not None}
    inside = {row.name for row in rows if row.region is not None}
    if not times:
        macs = {row.name: float(row.elements * (row.positions or 0)) for row in rows}
        share = _share(macs, inside)
        return None if share is None else Coverage(share, "MACs", False, regions, cuts)
    rest = None if metadata is None else metadata.rest
    others = {} if metadata is None else dict(metadata.rest_by_operator)
    unnamed = 0.0 if rest is None else max(0.0, rest[1] - sum(others.values()))
    if unnamed > _LEAST_MS:
        others["others"] = unnamed
    share = _share(times | others, inside)
    if share is None:
        return None
    outside = {name: ms for name, ms in times.items() if name not in inside} | others
    ordered = sorted(((name, ms) for name, ms in outside.items() if ms >= _LEAST_MS), key=lambda one: -one[1])
    reasons = {row.name: row.dense_because for row in rows if row.region is None and row.dense_because is not None}
    return Coverage(share, "time", rest is not None, regions, cuts, dict(ordered), reasons)


def _share(amounts: Mapping[str, float], inside: set[str]) -> float | None:
    total = sum(amounts.values())
    return sum(amount for name, amount in amounts.items() if name in inside) / total if total > 0 else None


def coverage_facts(coverage: Coverage | None) -> list[tuple[str, str]]:
    """Label and text; nothing for files without regions."""
    if coverage is None:
        return []
    of = "dense time, predicted" if coverage.measure == "time" else "MACs"
    of += ", layers only" if coverage.measure == "time" and not coverage.whole else ""
    number = "1 region" if coverage.regions == 1 else f"{coverage.regions} regions"
    lines = [("inside of regions", f"{coverage.share:.1%} of {of}, in {number}")]
    if coverage.cuts:
        cuts = ", ".join(f"{name} ({count})" for name, count in list(coverage.cuts.items())[:_NAMED])
        lines.append(("cut apart by", cuts))
    for name, ms in list(coverage.left_out.items())[:_NAMED]:
        reason = coverage.reasons.get(name)
        lines.append(("left out", f"{ms:.2f} ms {name}" + (f": {reason}" if reason else "")))
    return lines
