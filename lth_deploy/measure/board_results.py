"""What a benchmark keeps of the hosts that it measured on: their programs, clocks, heat and energy."""

from typing import Annotated

from pydantic import Field

from lth_deploy.documents import Count, Figure, IfMissing, StrictSection
from lth_deploy.measure.machine import Machine


class Host(StrictSection):
    """A machine. name: as the user gave it. board: what it calls itself. emulated: by qemu, so that no time counts.

    programs: bytes of each program that was copied there. cores: capacity of each that is online, by its number; None
    where Linux does not give it.
    """

    name: str
    board: Annotated[str, IfMissing("")] = ""
    machine: Annotated[Machine, IfMissing({})]
    onnxruntime: Annotated[str, IfMissing("")]
    emulated: bool = False
    programs: dict[str, Count] = Field({})
    cores: dict[str, Count | None] = Field({})


class BlockConditions(StrictSection):
    """Of one block of runs. at: seconds since the first one. p50: of its runs, in milliseconds.

    mhz: clocks behind the block of the cores that the row was pinned to, or of all. celsius: of each thermal zone.
    bits, events, steps: signs of throttling; see docs/boards.md. throttled: whether the host was slowed down; repeated:
    so the whole round was measured again, and this block counts for nothing.
    """

    at: Figure = None
    p50: Figure = None
    governor: str = ""
    mhz: list[Figure] = Field([])
    celsius: dict[str, Figure] = Field({})
    bits: Count | None = None
    events: Count | None = None
    steps: Count | None = None
    throttled: bool = False
    repeated: bool = False


class Sustained(StrictSection):
    """Runs without a pause for `seconds`. per_second: images, over the whole time, and in its first and last window."""

    seconds: Figure = None
    per_second: Figure = None
    first_per_second: Figure = None
    last_per_second: Figure = None
    celsius: Figure = None
    throttled: bool = False


class EnergyUse(StrictSection):
    """joules: for one image, with what the host uses without work. idle_watts: that, before the blocks.

    source: `rapl`, the name of a sensor, or `power command`. counters: which of its counters were added. beside: joules
    for one image of counters that were not added, since they may lie inside of those.
    """

    joules: Figure = None
    idle_watts: Figure = None
    source: str = ""
    counters: list[str] = Field([])
    beside: dict[str, Figure] = Field({})
