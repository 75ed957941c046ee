"""What a check of a data set has to say: errors that stop training, notices of what was filled in."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from lth_deploy.data.json_values import printable

Severity = Literal["error", "notice"]

KEPT_PER_SEVERITY = 1000
"""A file with a million faults of one kind need not fill the memory; the rest is only counted."""


@dataclass(frozen=True)
class Finding:
    """One fault or notice, with the file and what in it ('annotation 17') it is about."""

    severity: Severity
    file: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{printable(self.file)}: {printable(self.where)}: {printable(self.message, 1000)}"


@dataclass
class _Group:
    """Findings of one kind: the first one, and how many there are."""

    first: Finding
    count: int = 0


@dataclass
class CheckReport:
    """Findings in the order of the file, at most `KEPT_PER_SEVERITY` of each severity, and totals.

    counts: 'errors' and 'notices' in full, 'images', 'annotations', 'categories', 'crowd regions',
    'images without objects'.
    """

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _groups: dict[str, _Group] = field(default_factory=dict)

    def error(self, file: object, where: str, message: str) -> None:
        """Record something that must be repaired."""
        self._add("error", file, where, message)

    def notice(self, file: object, where: str, message: str) -> None:
        """Record something that was filled in or is worth a look."""
        self._add("notice", file, where, message)

    def group(self, severity: Severity, kind: str, file: object, where: str, message: str) -> None:
        """Record one of many findings of a kind, of which `close` makes one; `message` has to fit the first of them."""
        group = self._groups.setdefault(kind, _Group(Finding(severity, str(file), where, message)))
        group.count += 1

    def close(self) -> None:
        """Turn every group into one finding that names its first member and their number."""
        for group in self._groups.values():
            first, more = group.first, group.count - 1
            self._add(
                first.severity,
                first.file,
                first.where,
                first.message + (f"; the same holds for {more} more" if more else ""),
            )
        self._groups.clear()

    def of(self, severity: Severity) -> list[Finding]:
        """The kept findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return self.counts["errors"] == 0

    def _add(self, severity: Severity, file: object, where: str, message: str) -> None:
        self.counts[f"{severity}s"] += 1
        if self.counts[f"{severity}s"] <= KEPT_PER_SEVERITY:
            self.findings.append(Finding(severity, str(file), where, message))
