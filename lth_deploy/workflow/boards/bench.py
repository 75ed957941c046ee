"""A board as a bench: blocks of runs in turn, what the board was like in each, and repeats of throttled rounds."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from lth_deploy.arrays import Feeds
from lth_deploy.boards.board import Board
from lth_deploy.boards.conditions import Conditions, throttled_between
from lth_deploy.boards.engines import Opened as OpenedThere
from lth_deploy.boards.image_files import ImageFile
from lth_deploy.boards.power_command import PowerCommand
from lth_deploy.boards.replies import Block
from lth_deploy.errors import ParityError
from lth_deploy.measure.board_results import BlockConditions, EnergyUse, Sustained
from lth_deploy.measure.latency import round_order
from lth_deploy.measure.memory import FreshProcess
from lth_deploy.measure.parity import ParityLimits, compare_detections
from lth_deploy.progress import progress
from lth_deploy.runtimes import FP32, RUNTIMES
from lth_deploy.workflow.benchmark.check_outputs import ROUNDED_ONCE, ROUNDS_OTHERWISE
from lth_deploy.workflow.benchmark.measure_round import Blocks, Opened, RoundSettings
from lth_deploy.workflow.boards.energy import EnergyBench, RowEnergy
from lth_deploy.workflow.boards.options import BoardOptions
from lth_deploy.workflow.boards.remote_session import RemoteArtifact, RemoteSession

if TYPE_CHECKING:
    from lth_deploy.data.records import ImageRecord
    from lth_deploy.decoders import Photo
    from lth_deploy.detections import Detections

OTHER_IMAGES = ParityLimits(0.3, box_iou=0.5, score_difference=0.2, matched_share=0.5, minimum_boxes=0)
"""What no decoder's rounding explains."""

MOST_REPEATS = 3
"""Times that one throttled round is measured again."""

_WARMER = 5.0
"""Degrees Celsius above the first temperature at which a rested board counts as cool."""

_POLL_SECONDS = 5.0
_WINDOWS = 60
_READS = 3

EMULATED = "ran in an emulator: its times, memory and energy say nothing and are left out"
READ_THERE = "the board's decoder of JPEG rounds otherwise, so its detections in the checked images differ"
STILL_THROTTLED = "some blocks were throttled although the host rested and they were repeated: better cooling is needed"

log = logging.getLogger(__name__)


@dataclass
class Observed:
    """What was seen of one candidate beside its times.

    read_ms, prepare_ms: medians over images that the board read itself; None where this process did.
    """

    conditions: list[BlockConditions] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)
    spent: RowEnergy = field(default_factory=RowEnergy)
    energy: EnergyUse | None = None
    notes: list[str] = field(default_factory=list)
    read_ms: float | None = None
    prepare_ms: float | None = None


@dataclass
class BoardBench:
    """A board at one number of threads.

    cores: to which it is pinned, () for all. expected: what each plain model finds in the checked images, here.
    records: of these images, where the board reads them itself.
    observed: of each candidate in turn, once it was timed.
    """

    board: Board
    options: BoardOptions
    cores: Sequence[int]
    expected: "Mapping[Path, Sequence[Detections]]"
    sleep: Callable[[float], None] = time.sleep
    records: "Sequence[ImageRecord]" = ()
    observed: list[Observed] = field(default_factory=list)

    def check(self, one: Opened, images: "Sequence[Photo]") -> list[str]:
        """Compare what the board finds with what the same weights find in plain ONNX on this machine.

        Raises:
            ParityError: they find different things on an engine of ours, and nothing is quantized.
        """
        candidate = one.candidate
        reference = self.expected[candidate.reference or candidate.loaded.path]
        pairs = ((number, reference[number], one.artifact.predict(image)) for number, image in enumerate(images))
        report = compare_detections(pairs, ParityLimits(minimum_boxes=0))
        notes = self._check_images(one, images)
        if report.passed:
            return notes
        text = f"{candidate} on {self.board.host} differs from its own weights in plain ONNX here: {report.describe()}"
        if not RUNTIMES.get(candidate.engine).takes_packed:
            log.warning("%s", text)
            return [*notes, text if candidate.values == FP32 else ROUNDS_OTHERWISE]
        if not candidate.file.quantized:
            raise ParityError(f"{text}; nothing was timed: is the bundle that of this version?")
        log.info("%s", text)
        return [*notes, ROUNDED_ONCE if _there(one).library else ROUNDS_OTHERWISE]

    def _check_images(self, one: Opened, images: "Sequence[Photo]") -> list[str]:
        """Compare what is found in images that the board reads with what it finds in those that were read here.

        Raises:
            ParityError: these are other images.
        """
        artifact = one.artifact
        pairs = [
            (record.id, artifact.predict(image), artifact.predict_record(record))
            for record, image in zip(self.records, images, strict=bool(self.records))
        ]
        rough = compare_detections(pairs, OTHER_IMAGES)
        if not rough.passed:
            raise ParityError(
                f"{one.candidate} on {self.board.host} finds other things in images that it reads itself: "
                f"{rough.describe()}; nothing was timed: leave out --read-images board"
            )
        report = compare_detections(pairs, ParityLimits(minimum_boxes=0))
        return [] if report.passed else [f"{READ_THERE}: {report.describe()}"]

    def time(self, opened: Sequence[Opened], images: "Sequence[Photo]", settings: RoundSettings) -> Blocks | None:
        """Blocks of all candidates in turn; a round in which one was throttled is measured again after a rest."""
        self.observed = [Observed() for _ in opened]
        if self.board.hello().emulated:
            for seen in self.observed:
                seen.notes.append(EMULATED)
            return None
        slots = [self._filled(one, place, images) for place, one in enumerate(opened)]
        if self.records:
            for own, seen in zip(slots, self.observed, strict=True):
                read = [self.board.read(slot) for slot in own for _ in range(_READS)]
                seen.read_ms = median(times.read_ms for times in read)
                seen.prepare_ms = median(times.prepare_ms for times in read)
        words = self.options.power_command
        with PowerCommand(words) if words else nullcontext() as command:
            energy = EnergyBench(self.board, command, self.sleep)
            start = self.board.conditions()
            energy.rest()
            blocks = self._blocks(opened, slots, settings, start, energy)
            for one, own, seen in zip(opened, slots, self.observed, strict=True):
                energy.run(seen.spent, _there(one), own, str(one.candidate))
        for seen in self.observed:
            seen.energy, notes = energy.use(seen.spent)
            seen.notes += notes
            if any(block.throttled and not block.repeated for block in seen.conditions):
                seen.notes.append(STILL_THROTTLED)
        self._sustain(opened, slots, start)
        return blocks

    def load(self, one: Opened, image: "Photo", settings: RoundSettings, threads: int) -> FreshProcess | None:
        """Load and run twice in a consumer that has done nothing but load the engine."""
        self.board.rest()
        if self.board.hello().emulated:
            return None
        there = _there(one)
        self.board.engine(there.engine)
        base = self.board.peak_rss_bytes()
        self.board.fill("first", one.artifact.file.decoder.prepare(image)[0])
        load_ms = self.board.load(there)
        _, first_ms = self.board.run(there, "first")
        self.board.run(there, "first")
        return FreshProcess(load_ms, first_ms, base, self.board.peak_rss_bytes())

    def _blocks(
        self,
        opened: Sequence[Opened],
        slots: Sequence[Sequence[str]],
        settings: RoundSettings,
        start: Conditions,
        energy: EnergyBench,
    ) -> Blocks:
        timing = settings.timing
        for one, own in zip(opened, slots, strict=True):
            for _ in range(timing.warm_up):
                self.board.run(_there(one), own[0])
        blocks: Blocks = [[] for _ in opened]
        wanted, spent, number = timing.seconds * len(opened), 0.0, 0
        with progress(f"{self.board.host}: timing, in seconds", total=round(wanted)) as step:
            while number < timing.minimum_rounds or spent < wanted:
                found = self._round(opened, [own[number % len(own)] for own in slots], settings, number, start)
                before = spent
                for place, block in found.items():
                    blocks[place].append(list(block.samples_ms))
                    energy.keep(self.observed[place].spent, block, timing.settle)
                    spent += sum(block.samples_ms) / 1e3
                number += 1
                step(min(round(spent), round(wanted)) - min(round(before), round(wanted)))
        return blocks

    def _filled(self, one: Opened, place: int, images: "Sequence[Photo]") -> list[str]:
        names = [f"{place}.{number}" for number in range(len(images))]
        for number, (name, image) in enumerate(zip(names, images, strict=True)):
            self.board.fill(name, self._content(one, number, image))
        return names

    def _content(self, one: Opened, number: int, image: "Photo") -> Feeds | ImageFile:
        artifact = one.artifact
        if isinstance(artifact, RemoteArtifact) and artifact.images is not None:
            return artifact.images.input_of(artifact.file.decoder, self.records[number])[0]
        return artifact.file.decoder.prepare(image)[0]

    def _round(
        self, opened: Sequence[Opened], slots: Sequence[str], settings: RoundSettings, number: int, start: Conditions
    ) -> dict[int, Block]:
        """A block of each candidate, in an order that is drawn; the last try where all were throttled."""
        timing = settings.timing
        for attempt in range(MOST_REPEATS + 1):
            found: dict[int, Block] = {}
            for place in map(int, round_order([str(place) for place in range(len(opened))], number)):
                self.sleep(timing.pause_seconds)
                found[place] = self.board.block(
                    _there(opened[place]), slots[place], timing.settle, timing.block_seconds
                )
            throttled = any(throttled_between(block.before, block.after) for block in found.values())
            repeated = throttled and attempt < MOST_REPEATS
            for place, block in found.items():
                self.observed[place].conditions.append(self._of_block(block, start, repeated))
            if not repeated:
                return found
            log.info("%s was throttled; the round is measured again once it has cooled down", self.board.host)
            self._cool_down(start)
        raise AssertionError("the last try is kept")

    def _of_block(self, block: Block, start: Conditions, repeated: bool) -> BlockConditions:
        after, signs = block.after, block.after.throttling
        used = [core for core in after.cores if not self.cores or core.id in self.cores]
        return BlockConditions(
            at=round(block.before.seconds - start.seconds, 3),
            p50=median(block.samples_ms),
            governor=", ".join(sorted({core.governor for core in used if core.governor})),
            mhz=[core.khz / 1e3 for core in used if core.khz is not None],
            celsius={f"{number} {zone.name}": zone.celsius for number, zone in enumerate(after.zones)},
            bits=signs.bits,
            events=signs.events,
            steps=signs.steps,
            throttled=throttled_between(block.before, after),
            repeated=repeated,
        )

    def _cool_down(self, start: Conditions) -> None:
        """Rest until the board is as cool as it was, and not throttled, or the time for that is over."""
        rested = 0.0
        while rested < self.options.cool_down:
            wait = min(_POLL_SECONDS, self.options.cool_down - rested)
            self.sleep(wait)
            rested += wait
            now = self.board.conditions()
            first = start.hottest
            cool = now.hottest is None or first is None or now.hottest <= first + _WARMER
            if cool and not now.is_throttled:
                return

    def _sustain(self, opened: Sequence[Opened], slots: Sequence[Sequence[str]], start: Conditions) -> None:
        """Each candidate without pauses, as long as was asked for, after a rest."""
        for seconds in self.options.sustain:
            for one, own, seen in zip(opened, slots, self.observed, strict=True):
                if self.board.conditions().is_throttled:
                    self._cool_down(start)
                with progress(f"{self.board.host}: {one.candidate} for {seconds:g} s"):
                    windows = self.board.sustain(_there(one), own, seconds, max(0.1, seconds / _WINDOWS))
                rates = [window.runs / window.took_ms * 1e3 for window in windows]
                took = sum(window.took_ms for window in windows)
                seen.sustained.append(
                    Sustained(
                        seconds=took / 1e3,
                        per_second=sum(window.runs for window in windows) / took * 1e3,
                        first_per_second=rates[0],
                        last_per_second=rates[-1],
                        celsius=windows[-1].after.hottest,
                        throttled=any(window.after.is_throttled for window in windows),
                    )
                )


def _there(one: Opened) -> OpenedThere:
    session = one.artifact.session
    assert isinstance(session, RemoteSession)
    return session.opened
