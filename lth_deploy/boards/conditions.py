"""What a board says of its cores, clocks, heat and energy; see export/consumers/cpp/sensors.h."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lth_deploy.errors import UsageError

Class = Literal["big", "little", "all"]
Count = Annotated[int, Field(ge=0, le=2**62)]

_NOW, _SINCE_START = 0xF, 0xF0000
"""Bits of Raspberry Pi's firmware: low voltage, capped clock, throttled, soft limit; now, and since it was started."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Core(_Part):
    """A core that is online. capacity: of 1024, by Linux; clocks in kHz; None where the board does not say."""

    id: Annotated[int, Field(ge=0, le=4096)]
    capacity: Count | None = None
    least_khz: Count | None = None
    largest_khz: Count | None = None
    governor: str = ""


class CoreClock(_Part):
    """The clock of a core at one moment."""

    id: int
    khz: Count | None = None
    governor: str = ""


class Zone(_Part):
    """A thermal zone."""

    name: str
    celsius: float


class Throttling(_Part):
    """bits: of Raspberry Pi's firmware. events: counted by Intel's cores. steps: by which Linux lowered a clock."""

    bits: Count | None = None
    events: Count | None = None
    steps: Count | None = None


class EnergyCounter(_Part):
    """A counter that begins again at `range`.

    source: `rapl`, or the name of a sensor. microjoules: None where it cannot be read. part: whether the board says
    that it lies inside of another counter.
    """

    source: str = "rapl"
    name: str
    microjoules: Count | None = None
    range: Count | None = None
    part: bool = False

    @property
    def label(self) -> str:
        """Its name among all counters."""
        return f"{self.source} {self.name}"


class Conditions(_Part):
    """At one moment; seconds: of a clock that never goes back."""

    seconds: float
    cores: tuple[CoreClock, ...] = ()
    zones: tuple[Zone, ...] = ()
    throttling: Throttling = Throttling()
    energy: tuple[EnergyCounter, ...] = ()

    @property
    def hottest(self) -> float | None:
        """Degrees Celsius of the hottest zone."""
        return max((zone.celsius for zone in self.zones), default=None)

    @property
    def is_throttled(self) -> bool:
        """Whether the board says that it is slowed down right now."""
        return bool((self.throttling.bits or 0) & _NOW or self.throttling.steps)


def throttled_between(before: Conditions, after: Conditions) -> bool:
    """Whether the board was slowed down at either moment, or between them."""
    one, two = before.throttling, after.throttling
    new_bits = (two.bits or 0) & ~(one.bits or 0) & _SINCE_START
    new_events = (two.events or 0) > (one.events or 0)
    return before.is_throttled or after.is_throttled or bool(new_bits) or new_events


def choose_cores(cores: Sequence[Core], wanted: Class, threads: int) -> tuple[int, ...]:
    """Numbers of `threads` cores of a class, the last ones, since the first take most interrupts; () for all cores.

    Cores are big if none has more capacity, little if none has less; where Linux gives no capacity, the largest clock
    stands for it. A board whose cores are all alike has one class.

    Raises:
        UsageError: the class has too few cores.
    """
    if wanted == "all" or not cores:
        return ()
    sizes = [core.capacity for core in cores]
    if None in sizes:
        sizes = [core.largest_khz for core in cores]
    known = [size or 0 for size in sizes]
    size = max(known) if wanted == "big" else min(known)
    found = sorted(core.id for core, own in zip(cores, known, strict=True) if own == size)
    if len(found) < threads:
        raise UsageError(
            f"--cores {wanted} has {len(found)} cores ({', '.join(map(str, found))}), fewer than --threads {threads}; "
            "give fewer threads, or --cores all"
        )
    return tuple(found[-threads:])
