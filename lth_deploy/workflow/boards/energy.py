"""Energy of the rows of a board: of its counters in every block, or of a power command in a run of its own."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from lth_deploy.boards.board import Board
from lth_deploy.boards.energy import Joules, Meter, choose_meter, joules_between, why_unreadable
from lth_deploy.boards.engines import Opened
from lth_deploy.boards.power_command import PowerCommand
from lth_deploy.boards.replies import Block
from lth_deploy.errors import BoardError
from lth_deploy.measure.board_results import EnergyUse
from lth_deploy.progress import progress

_IDLE_SECONDS = 2.0
_LAG_SECONDS = 2.0
"""Meters show an average of a second or so: what they say this soon after a change is not used."""

_METERED_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass
class RowEnergy:
    """Joules for one image: of each counter in each block, and by the power command."""

    blocks: list[Joules] = field(default_factory=list)
    metered: float | None = None


@dataclass
class EnergyBench:
    """What measures energy on a board. command: None for the counters of the board."""

    board: Board
    command: PowerCommand | None
    sleep: Callable[[float], None]
    fault: str = ""
    _meter: Meter | None = None
    _idle: Joules = field(default_factory=dict)
    _idle_metered: float | None = None

    def rest(self) -> None:
        """Measure the board without work, and choose what stands for it."""
        before = self.board.conditions()
        if not before.energy and self.command is None:
            return
        begin = time.monotonic()
        self.sleep(_IDLE_SECONDS)
        if self.command is not None:
            self._idle_metered = self._tried(lambda command: _idle_watts(command, begin))
        after = self.board.conditions()
        counted, seconds = joules_between(before, after), after.seconds - before.seconds
        self._meter = choose_meter(after.energy, counted)
        self._idle = {label: joules / seconds for label, joules in counted.items() if seconds > 0}
        if self._meter is None and self.command is None:
            self._fail(why_unreadable(after.energy))

    def keep(self, row: RowEnergy, block: Block, settle: int) -> None:
        """Add what a block took."""
        runs = len(block.samples_ms) + settle
        counted = joules_between(block.before, block.after)
        row.blocks.append({label: joules / runs for label, joules in counted.items()})

    def run(self, row: RowEnergy, opened: Opened, slots: Sequence[str], name: str) -> None:
        """With a power command, run without a pause for as long as a slow meter needs."""
        if self.command is None or self.fault:
            return
        seconds = _LAG_SECONDS + _METERED_SECONDS
        begin = time.monotonic()
        with progress(f"{self.board.host}: energy of {name} for {seconds:g} s"):
            windows = self.board.sustain(opened, slots, seconds, _LAG_SECONDS)
        end = time.monotonic()
        settled = windows[1:] or windows
        took = sum(window.took_ms for window in settled) / 1e3
        watts = self._tried(lambda command: command.watts(begin + _LAG_SECONDS, end))
        if watts is not None:
            row.metered = watts * took / sum(window.runs for window in settled)

    def use(self, row: RowEnergy) -> tuple[EnergyUse | None, list[str]]:
        """What a row says of its energy, and what there is to note."""
        medians = {
            label: median(block[label] for block in row.blocks if label in block)
            for label in dict.fromkeys(label for block in row.blocks for label in block)
        }
        if self.command is not None:
            if row.metered is None:
                return None, [self.fault] if self.fault else []
            return (
                EnergyUse(
                    joules=row.metered,
                    idle_watts=self._idle_metered,
                    source="power command",
                    counters=[self.command.command[0]],
                    beside=medians,
                ),
                [],
            )
        meter = self._meter
        if meter is None:
            return None, [self.fault] if self.fault else []
        found = [joules for block in row.blocks if (joules := meter.joules(block)) is not None]
        if not found:
            what = " and ".join(meter.labels)
            return None, [f"energy is left out: {what} could no longer be read once rows were measured"]
        use = EnergyUse(
            joules=median(found),
            idle_watts=meter.joules(self._idle),
            source=meter.source,
            counters=[label.removeprefix(f"{meter.source} ") for label in meter.labels],
            beside={label: joules for label, joules in medians.items() if label not in meter.labels},
        )
        return use, [meter.note] if meter.note else []

    def _tried(self, what: Callable[[PowerCommand], float]) -> float | None:
        """A number of the power command; None, and why, if it has none: the rows go on without energy."""
        if self.command is None or self.fault:
            return None
        try:
            return what(self.command)
        except BoardError as error:
            self._fail(str(error))
            return None

    def _fail(self, what: str) -> None:
        self.fault = what
        if what:
            log.warning("%s: %s", self.board.host, what)


def _idle_watts(command: PowerCommand, begin: float) -> float:
    command.wait()
    return command.watts(begin, time.monotonic())
