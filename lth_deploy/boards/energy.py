"""Which counters stand for the energy of a board, and what they counted.

Counters may lie inside of each other: the rail of a processor in that of the whole board, a package in its platform. So
one source is chosen, and of it the outermost counter. Only packages are added, which lie side by side.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lth_deploy.boards.conditions import Conditions, EnergyCounter

RAPL = "rapl"
_PLATFORM = "psys"
_INPUT = re.compile(r"(\w+_)?V?IN")
"""Rails through which a whole board is fed: VDD_IN, POM_5V_IN, VIN."""

Joules = Mapping[str, float]
"""By the label of a counter."""


@dataclass(frozen=True)
class Meter:
    """What stands for a board. labels: of the counters that are added."""

    source: str
    labels: tuple[str, ...]
    note: str = ""

    def joules(self, counted: Joules) -> float | None:
        """Of what the counters counted; None where one is missing."""
        if not all(label in counted for label in self.labels):
            return None
        return sum(counted[label] for label in self.labels)


def joules_between(before: Conditions, after: Conditions) -> dict[str, float]:
    """What each counter counted that could be read both times."""
    first = {counter.label: counter.microjoules for counter in before.energy}
    found = {}
    for counter in after.energy:
        begin, end = first.get(counter.label), counter.microjoules
        if begin is None or end is None:
            continue
        spent = end - begin + ((counter.range or 0) if end < begin else 0)
        if spent >= 0:
            found[counter.label] = spent / 1e6
    return found


def choose_meter(counters: Collection[EnergyCounter], idle: Joules) -> Meter | None:
    """What stands for the board; None if no counter can be read. idle: what they counted in the same time."""
    whole = [counter for counter in counters if not counter.part and counter.label in idle]
    rails = [counter for counter in whole if counter.source != RAPL]
    if rails:
        return _outermost_rail(rails, idle)
    packages = [counter.label for counter in whole if counter.name != _PLATFORM]
    platform = next((counter.label for counter in whole if counter.name == _PLATFORM), None)
    # Some machines have the counter of the platform, but nothing behind it.
    if platform is not None and idle[platform] >= sum(idle[label] for label in packages):
        return Meter(RAPL, (platform,))
    return Meter(RAPL, tuple(packages)) if packages else None


def why_unreadable(counters: Collection[EnergyCounter]) -> str:
    """What to say of counters none of which can be read; "" if there are none."""
    sources = sorted({counter.source for counter in counters})
    if not sources:
        return ""
    advice = "; RAPL is for root only: log in as root, or allow energy_uj to be read" if RAPL in sources else ""
    return f"energy is left out: the counters of {' and '.join(sources)} cannot be read there{advice}"


def _outermost_rail(rails: Collection[EnergyCounter], idle: Joules) -> Meter:
    inputs = [rail for rail in rails if _INPUT.fullmatch(rail.name)]
    chosen = max(inputs or rails, key=lambda rail: idle[rail.label])
    guessed = not inputs and len(rails) > 1
    note = f"energy is that of the largest rail, {chosen.name}: none is named as the input of the board"
    return Meter(chosen.source, (chosen.label,), note if guessed else "")
