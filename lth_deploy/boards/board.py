"""A board that runs models: its programs are copied there, its sessions open again by themselves after a cut link."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lth_deploy import storage
from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.boards import remote
from lth_deploy.boards.bundle import PROCESSORS, Bundle, given_bundle, suitable_bundle
from lth_deploy.boards.conditions import Conditions
from lth_deploy.boards.drivers import Driver
from lth_deploy.boards.engines import ONNXRUNTIME, EngineFiles, Opened
from lth_deploy.boards.image_files import ImageFile, fill_requests, store_images
from lth_deploy.boards.link import Link
from lth_deploy.boards.replies import (
    Block,
    Hello,
    ImageRead,
    Loaded,
    Memory,
    Moment,
    Ran,
    Sustained,
    Version,
    Window,
    checked,
)
from lth_deploy.boards.tensors import read_outputs
from lth_deploy.errors import BoardError, LinkLostError

PROTOCOL = 3
RECONNECT_SECONDS = 300.0
_LONGEST_WAIT = 30.0
_QUICK = 120.0
"""Seconds for a reply that needs no run of a model."""

_COPY = 3600.0

T = TypeVar("T")

_START = 'exec "$@"'

log = logging.getLogger(__name__)


@dataclass
class Board:
    """One board; use it in a `with` statement.

    driver: the way to it. folder: where its files lie, None for the usual place. bundle: a folder with programs, None
    for those of this package. run_seconds: what a run of a model may take.
    """

    driver: Driver
    folder: str | None = None
    bundle: Path | None = None
    run_seconds: float = 600.0
    _link: Link | None = None
    _hello: Hello | None = None
    _system: remote.System | None = None
    _programs: tuple[str, ...] = ()
    _libraries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _engines: dict[str, str] = field(default_factory=dict)
    _root: str = ""
    _pinned: tuple[int, ...] = ()
    _sessions: dict[Opened, str] = field(default_factory=dict)
    _open: set[Opened] = field(default_factory=set)
    _slots: dict[str, Feeds | ImageFile] = field(default_factory=dict)
    _read: dict[str, ImageRead] = field(default_factory=dict)
    _filled: set[str] = field(default_factory=set)

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rest()

    @property
    def host(self) -> str:
        """As the user names it."""
        return self.driver.host

    def set_up(self, models: Mapping[str, Path]) -> Bundle:
        """Copy the programs and the models, by their SHA-256, that the board lacks; returns what programs it has.

        Raises:
            BoardError: the board cannot be reached, lacks what the programs need, or refuses.
        """
        self._system = system = remote.look(self.driver)
        bundle = given_bundle(self.bundle) if self.bundle is not None else suitable_bundle(self.host, system)
        digests = [storage.sha256(path) for path in bundle.files]
        programs = dict(zip(digests, bundle.files, strict=True))
        self._root = remote.copy(self.driver, self._place, {**programs, **models}).path
        self._programs = tuple(f"{self._root}/{digest}" for digest in digests)
        self._libraries = {ONNXRUNTIME: self._programs[2:]}
        return bundle

    def add_engine(self, engine: EngineFiles, models: Mapping[str, Path]) -> str:
        """Copy what another engine needs and the models that it reads, and load it; its version.

        Raises:
            BoardError: the board cannot load it; the message says why, and what to do.
        """
        assert self._system is not None
        engine.hold_glibc(self.host, self._system)
        files = {file.name: (storage.sha256(file), file) for file in engine.files}
        remote.copy(self.driver, self._place, {**dict(files.values()), **models})
        folder = ""
        if files:
            named = {name: digest for name, (digest, _) in files.items()}
            folder = remote.link(self.driver, self._root, engine.engine, named)
        self._libraries[engine.engine] = tuple(f"{folder}/{name}" if name in files else name for name in engine.names)
        try:
            return self.engine(engine.engine)
        except LinkLostError:
            raise
        except BoardError as error:
            self.rest()  # the consumer may have crashed in it
            raise BoardError(f"{error}{engine.said}") from error

    def clean_up(self) -> None:
        """End the consumer and remove from the board what was copied.

        Raises:
            BoardError: the board cannot be reached.
        """
        self.rest()
        remote.remove(self.driver, self._place)

    def hello(self) -> Hello:
        """What the running consumer says of itself and of the machine."""
        self._connected()
        assert self._hello is not None
        return self._hello

    @property
    def processor(self) -> str | None:
        """By its name in wheels; None for one that they are not made for."""
        return PROCESSORS.get(self._system.processor.lower()) if self._system is not None else None

    def engine(self, name: str) -> str:
        """The version of an engine, which is loaded if it is not yet.

        Raises:
            BoardError: it cannot be loaded.
        """
        if name not in self._engines:
            reply, _ = self._ask(["engine", name, *self._libraries[name]], seconds=_QUICK)
            self._engines[name] = checked(Version, reply, self.host).version
        return self._engines[name]

    def pin(self, cores: Sequence[int]) -> None:
        """Let sessions that are opened from now on use these cores only; () for all. Closes those that are open."""
        self.rest()
        self._pinned = tuple(cores)

    def rest(self) -> None:
        """End the consumer; the next request starts another, in which sessions and inputs are the same."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._open.clear()
        self._filled.clear()
        self._engines.clear()

    def load(self, opened: Opened) -> float:
        """Milliseconds that a new session takes to open; it is open already if it takes no time."""
        if opened in self._open:
            return 0.0
        number = self._sessions.setdefault(opened, str(len(self._sessions)))
        words = ["open", number, *opened.words(self._root, self._programs[1])]
        reply, _ = self._ask(words, seconds=self.run_seconds, engine=opened.engine)
        self._open.add(opened)
        return checked(Loaded, reply, self.host).load_ms

    def fill(self, slot: str, content: Feeds | ImageFile) -> None:
        """Keep inputs on the board under a name; an image file is read there."""
        self._slots[slot] = content
        self._filled.discard(slot)

    def read(self, slot: str) -> ImageRead:
        """How long it takes to read the image file of a slot, which is done now.

        Raises:
            BoardError: it is damaged.
        """
        self._filled.discard(slot)
        self._retried(lambda: self._send(slot))
        return self._read[slot]

    def store(self, images: Mapping[str, Path]) -> None:
        """Copy image files, by their SHA-256, that the board lacks; see `store_images` for what is raised."""
        store_images(lambda words, data: self._ask(words, data, seconds=_COPY), self.host, self._root, images)

    def run(self, opened: Opened, slot: str) -> tuple[Arrays, float]:
        """Outputs by name for the inputs of a slot, and the milliseconds of the run."""
        reply, data = self._work("run", opened, [slot], [slot], self.run_seconds)
        ran = checked(Ran, reply, self.host)
        return read_outputs(ran.outputs, data, self.host), ran.ms

    def block(self, opened: Opened, slot: str, settle: int, seconds: float) -> Block:
        """The times of all runs within `seconds`, at least one, after `settle` untimed ones."""
        rest = [slot, str(settle), str(max(1, round(seconds * 1e3)))]
        allowed = seconds + (settle + 1) * self.run_seconds
        return checked(Block, self._work("block", opened, rest, [slot], allowed)[0], self.host)

    def sustain(self, opened: Opened, slots: Sequence[str], seconds: float, window: float) -> tuple[Window, ...]:
        """How many runs one after the other, on the slots in turn, each window of a long time had."""
        rest = [str(round(seconds * 1e3)), str(round(window * 1e3)), *slots]
        reply, _ = self._work("sustain", opened, rest, slots, seconds + self.run_seconds)
        return checked(Sustained, reply, self.host).windows

    def conditions(self) -> Conditions:
        """Clocks, heat and energy now."""
        return checked(Moment, self._ask(["conditions"], seconds=_QUICK)[0], self.host).conditions

    def peak_rss_bytes(self) -> int:
        """Of the consumer, so far."""
        return checked(Memory, self._ask(["memory"], seconds=_QUICK)[0], self.host).peak_rss_bytes

    @property
    def _place(self) -> str:
        return self.folder or self.driver.folder

    def _connected(self) -> Link:
        if self._link is None:
            link = Link(self.driver, _START, [self._programs[0], "serve"])
            try:
                reply, _ = link.ask(["hello"], seconds=_QUICK)
                hello = checked(Hello, reply, self.host)
                if hello.protocol != PROTOCOL:
                    raise BoardError(f"{self.host}: its consumer speaks version {hello.protocol}, {PROTOCOL} is needed")
                if self._pinned:
                    link.ask(["pin", *map(str, self._pinned)], seconds=_QUICK)
            except BaseException:
                link.close()
                raise
            self._link, self._hello = link, hello
        return self._link

    def _work(
        self, verb: str, opened: Opened, rest: Sequence[str], slots: Sequence[str], seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """A request about a session and inputs, which are on the board before it."""

        def work() -> tuple[dict[str, Any], bytes]:
            self.load(opened)
            for slot in slots:
                self._send(slot)
            return self._connected().ask([verb, self._sessions[opened], *rest], seconds=seconds)

        return self._retried(work)

    def _ask(
        self, words: Sequence[str], data: Sequence[memoryview] = (), *, seconds: float, engine: str | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """A request, of a consumer that has an engine."""

        def work() -> tuple[dict[str, Any], bytes]:
            if engine is not None:
                self.engine(engine)
            return self._connected().ask(words, data, seconds=seconds)

        return self._retried(work)

    def _retried(self, work: Callable[[], T]) -> T:
        """The result of work that is begun anew whenever the link is cut."""
        while True:
            try:
                return work()
            except LinkLostError as error:
                self._reconnect(error)

    def _reconnect(self, error: LinkLostError) -> None:
        """Forget the cut link, and try until the board is there again.

        Raises:
            LinkLostError: it does not come back.
        """
        self.rest()
        log.warning("%s; connecting again", error)
        lost, wait = time.monotonic(), 1.0
        while True:
            try:
                self._connected()
                return
            except LinkLostError:
                if time.monotonic() - lost + wait > RECONNECT_SECONDS:
                    raise
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _send(self, slot: str) -> None:
        if slot in self._filled:
            return
        for words, payload in fill_requests(slot, self._slots[slot], self._root):
            reply, _ = self._connected().ask(words, payload, seconds=max(_QUICK, self.run_seconds))
            if words[0] == "image":
                self._read[slot] = checked(ImageRead, reply, self.host)
        self._filled.add(slot)
