"""A board that is throttled, on a clock of the test: rounds are repeated after a rest, and what counts is said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lth_deploy.boards.board import Board
from lth_deploy.boards.conditions import Conditions, CoreClock, EnergyCounter, Throttling, Zone
from lth_deploy.boards.engines import Opened
from lth_deploy.boards.power_command import PowerCommand
from lth_deploy.boards.replies import Block, Window
from lth_deploy.measure.latency import Timing
from lth_deploy.workflow.benchmark.measure_round import Opened as Candidates
from lth_deploy.workflow.benchmark.measure_round import RoundSettings
from lth_deploy.workflow.boards.bench import EMULATED, STILL_THROTTLED, BoardBench
from lth_deploy.workflow.boards.options import BoardOptions
from lth_deploy.workflow.boards.remote_session import RemoteSession

TIMING = Timing(seconds=1.0, block_seconds=0.1, warm_up=1, settle=1, pause_seconds=0.0, minimum_rounds=5)

NUMBERS = 4
"""Of a power command, more than a mean needs."""


@dataclass
class FakeBoard:
    """Runs of 10 ms; hot while its clock is between two times; it spends 5 W, and 20 W while it runs."""

    hot: tuple[float, float] = (0.0, 0.0)
    emulated: bool = False
    now: float = 0.0
    joules: float = 0.0
    readable: Callable[[float], bool] = lambda now: True
    host: str = "fake"
    slept: list[float] = field(default_factory=list)

    def hello(self) -> Any:
        return SimpleNamespace(emulated=self.emulated)

    def fill(self, slot: str, feeds: object) -> None:
        assert feeds

    def run(self, opened: Opened, slot: str) -> tuple[dict[str, Any], float]:
        self._spend(0.01)
        return {}, 10.0

    def conditions(self) -> Conditions:
        hot = self.hot[0] <= self.now < self.hot[1]
        return Conditions(
            seconds=100 + self.now,
            cores=tuple(
                CoreClock(id=core, khz=600_000 if hot else 2_400_000, governor="ondemand") for core in range(4)
            ),
            zones=(Zone(name="cpu", celsius=85.0 if hot else 50.0),),
            throttling=Throttling(bits=0x50004 if hot else 0x50000),
            energy=(
                EnergyCounter(name="package-0", microjoules=self._counted(), range=2**40),
                EnergyCounter(name="package-0/core", microjoules=self._counted(0.5), range=2**40, part=True),
            ),
        )

    def block(self, opened: Opened, slot: str, settle: int, seconds: float) -> Block:
        before, runs = self.conditions(), 10
        took = 40.0 if before.is_throttled else 10.0
        self._spend((runs + settle) * took / 1e3)
        return Block(samples_ms=(took,) * runs, before=before, after=self.conditions())

    def sustain(self, opened: Opened, slots: Sequence[str], seconds: float, window: float) -> tuple[Window, ...]:
        self._spend(seconds)
        rates = (100, 60)
        return tuple(
            Window(runs=round(rate * seconds / 2), took_ms=seconds * 500, after=self.conditions()) for rate in rates
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.joules += 5 * seconds

    def _counted(self, share: float = 1.0) -> int | None:
        return int(self.joules * share * 1e6) if self.readable(self.now) else None

    def _spend(self, seconds: float) -> None:
        self.now += seconds
        self.joules += 20 * seconds


def measured(fake: FakeBoard, **options: Any) -> tuple[BoardBench, Any]:
    board = cast(Board, fake)
    decoder = SimpleNamespace(prepare=lambda image: ({"x": image}, None))
    opened = [
        Candidates(
            cast(Any, f"candidate {number}"),
            cast(
                Any,
                SimpleNamespace(
                    file=SimpleNamespace(decoder=decoder), session=RemoteSession(board, Opened(f"{number}", False, 1))
                ),
            ),
        )
        for number in range(2)
    ]
    bench = BoardBench(board, BoardOptions(("fake",), **options), (2, 3), {}, fake.sleep)
    settings = RoundSettings(cast(Any, None), TIMING, 1, 1, 10, Path("none"))
    return bench, bench.time(opened, [np.zeros((2, 2, 3), np.uint8)], settings)


def test_a_cool_board_has_every_block_with_its_conditions() -> None:
    bench, blocks = measured(FakeBoard(), sustain=(60.0,))
    assert [len(one) for one in blocks] == [10, 10]
    assert {sample for one in blocks for block in one for sample in block} == {10.0}
    for seen in bench.observed:
        assert len(seen.conditions) == 10
        first = seen.conditions[0]
        assert first.mhz == [2400.0, 2400.0], "of the two cores that are used"
        assert first.celsius == {"0 cpu": 50.0}
        assert (first.governor, first.bits, first.p50) == ("ondemand", 0x50000, 10.0)
        assert not any(block.throttled or block.repeated for block in seen.conditions)
        assert [block.at for block in seen.conditions] == sorted(cast(list[float], [b.at for b in seen.conditions]))
        assert seen.energy is not None
        assert seen.energy.joules == pytest.approx(0.2)
        assert seen.energy.idle_watts == pytest.approx(5.0)
        assert (seen.energy.source, seen.energy.counters) == ("rapl", ["package-0"])
        assert seen.energy.beside == {"rapl package-0/core": pytest.approx(0.1)}
        (sustained,) = seen.sustained
        assert (sustained.seconds, sustained.per_second) == (60.0, pytest.approx(80.0))
        assert (sustained.first_per_second, sustained.last_per_second) == (pytest.approx(100), pytest.approx(60))
        assert seen.notes == []


def test_a_throttled_round_is_measured_again_after_a_rest() -> None:
    fake = FakeBoard(hot=(3.0, 12.0))
    bench, blocks = measured(fake)
    assert {sample for one in blocks for block in one for sample in block} == {10.0}
    assert [len(one) for one in blocks] == [10, 10]
    for seen in bench.observed:
        repeated = [block for block in seen.conditions if block.repeated]
        assert len(repeated) == 1
        assert len(seen.conditions) == 11
        assert seen.notes == []
        assert seen.energy is not None
        assert seen.energy.joules == pytest.approx(0.2), "blocks that do not count are not in the energy"
    assert any(block.throttled and block.celsius == {"0 cpu": 85.0} for block in bench.observed[0].conditions)
    assert fake.slept.count(5.0) == 2


def test_a_board_that_stays_hot_is_measured_and_says_so() -> None:
    fake = FakeBoard(hot=(3.0, 1e9))
    bench, blocks = measured(fake, cool_down=20.0)
    assert len(blocks[0]) >= 5
    for seen in bench.observed:
        kept = [block for block in seen.conditions if not block.repeated]
        assert len(kept) == len(blocks[0])
        assert any(block.throttled for block in kept)
        assert seen.notes == [STILL_THROTTLED]


@pytest.mark.parametrize(
    ("readable", "note"),
    [(lambda now: False, "RAPL is for root only"), (lambda now: now < 2.01, "rapl package-0 could no longer be read")],
)
def test_rows_go_on_without_energy(readable: Callable[[float], bool], note: str) -> None:
    bench, blocks = measured(FakeBoard(readable=readable))
    assert [len(one) for one in blocks] == [10, 10]
    for seen in bench.observed:
        assert seen.energy is None
        assert len(seen.notes) == 1
        assert note in seen.notes[0]


def test_a_power_command_stands_for_the_whole_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lth_deploy.workflow.boards.energy._LAG_SECONDS", 0.0)
    fake, begun = FakeBoard(), []
    real, enter = fake.sustain, PowerCommand.__enter__
    monkeypatch.setattr(PowerCommand, "__enter__", lambda self: (begun.append(self), enter(self))[1])

    def sustain(opened: Opened, slots: Sequence[str], seconds: float, window: float) -> tuple[Window, ...]:
        begun[-1].wait(NUMBERS)  # as long as it takes: this machine may be busy
        return real(opened, slots, seconds, window)

    monkeypatch.setattr(fake, "sustain", sustain)
    bench, _ = measured(fake, power_command=("/bin/sh", "-c", "while :; do echo 12; sleep 0.02; done"))
    for seen in bench.observed:
        assert seen.notes == []
        assert seen.energy is not None
        assert (seen.energy.source, seen.energy.counters) == ("power command", ["/bin/sh"])
        assert (seen.energy.joules, seen.energy.idle_watts) == (pytest.approx(12 / 60), pytest.approx(12))
        assert seen.energy.beside["rapl package-0"] == pytest.approx(0.2)
    bench, blocks = measured(FakeBoard(), power_command=("/bin/false",))
    assert [len(one) for one in blocks] == [10, 10]
    for seen in bench.observed:
        assert seen.energy is None
        assert seen.notes == ["energy is left out: --power-command /bin/false has ended with status 1"]


def test_an_emulator_has_no_times() -> None:
    bench, blocks = measured(FakeBoard(emulated=True))
    assert blocks is None
    assert [seen.notes for seen in bench.observed] == [[EMULATED], [EMULATED]]
