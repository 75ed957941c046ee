"""Rows of a benchmark from hosts: each host has all candidates, several hosts are measured at once."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy.boards.board import Board
from lth_deploy.boards.bundle import CONSUMER, LIBRARY, RUNTIME, Bundle
from lth_deploy.boards.conditions import choose_cores
from lth_deploy.boards.drivers import LOCAL, Driver, driver_of
from lth_deploy.boards.engines import ONNXRUNTIME
from lth_deploy.boards.remote import look
from lth_deploy.errors import BoardError
from lth_deploy.measure.board_results import Host
from lth_deploy.measure.results import Row
from lth_deploy.workflow.artifact import open_session
from lth_deploy.workflow.benchmark.candidates import Candidate
from lth_deploy.workflow.benchmark.describe_file import FileDescription
from lth_deploy.workflow.benchmark.measure_round import Accuracy, Opened, RoundSettings, measure_round
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.rows import make_row
from lth_deploy.workflow.boards.bench import BoardBench
from lth_deploy.workflow.boards.images_there import ImagesThere, images_there
from lth_deploy.workflow.boards.options import BoardOptions
from lth_deploy.workflow.boards.placed import Placed, available

if TYPE_CHECKING:
    from lth_deploy.decoders import Photo
    from lth_deploy.detections import Detections

Expected = Mapping[Path, "Sequence[Detections]"]

log = logging.getLogger(__name__)


def reachable_hosts(boards: BoardOptions) -> tuple[list[Driver], list[str]]:
    """Ways to the hosts that answer, and why others are left out: before any work, which takes minutes.

    Raises:
        UsageError: no name of a host. BoardError: none answers.
    """
    found, left_out = list[Driver](), list[str]()
    for driver in [driver_of(host) for host in dict.fromkeys(boards.hosts)]:
        try:
            look(driver)
        except BoardError as error:
            if len(set(boards.hosts)) == 1:
                raise
            log.error("%s", error)
            left_out.append(str(error))
            continue
        found.append(driver)
    if not found:
        raise BoardError(f"no host can be measured: {'; '.join(left_out)}")
    return found, left_out


@dataclass(frozen=True)
class HostRows:
    """What was measured on one host. left_out: what it cannot run, and why."""

    host: Host
    rows: list[Row]
    left_out: list[str]


def measure_hosts(
    drivers: Sequence[Driver],
    placed: Sequence[Placed],
    described: Mapping[Path, FileDescription],
    settings: RoundSettings,
    options: BenchmarkOptions,
    boards: BoardOptions,
) -> tuple[list[Row], list[Host], list[str]]:
    """The rows of all hosts, the hosts, and why some hosts and some rows are left out.

    Remote hosts are measured at once; this machine, which works for them all, comes before them.

    Raises:
        BoardError: no host could be measured. ParityError: a host computes something else.
    """
    from lth_deploy.data.images import read_record

    records = settings.dataset.subset(settings.timed_images).images
    images = [read_record(record) for record in records]
    there = images_there(settings.dataset.images) if boards.read_images == "board" else None
    expected = _expected([one.candidate for one in placed], images)
    here = [driver for driver in drivers if driver.host == LOCAL]
    done: dict[str, Future[HostRows]] = {}
    for group in (here, [driver for driver in drivers if driver.host != LOCAL]):
        with ThreadPoolExecutor(max(1, len(group))) as pool:
            for driver in group:
                board = Board(driver, boards.folder, boards.bundle)
                work = HostWork(board, settings, options, boards, images, expected, there)
                done[driver.host] = pool.submit(work.measure, placed, described)
    found, left_out, failed = list[HostRows](), list[str](), list[BoardError]()
    for driver in drivers:
        try:
            one = done[driver.host].result()
        except BoardError as error:
            log.error("%s", error)
            left_out.append(str(error))
            failed.append(error)
            continue
        found.append(one)
        left_out += one.left_out
    if not found:
        raise failed[0]
    return [row for one in found for row in one.rows], [one.host for one in found], left_out


@dataclass(frozen=True)
class HostWork:
    """One host, and how it is measured.

    expected: what each plain model finds in the images, here. there: images that the board reads itself.
    """

    board: Board
    settings: RoundSettings
    options: BenchmarkOptions
    boards: BoardOptions
    images: "Sequence[Photo]"
    expected: Expected
    there: ImagesThere | None = None

    def measure(self, placed: Sequence[Placed], described: Mapping[Path, FileDescription]) -> HostRows:
        """All rows of the host.

        Raises:
            BoardError: it cannot be measured. ParityError: it computes something else.
        """
        board = self.board
        with board:
            ours = {digest: path for one in placed if not one.is_peer for digest, path in one.files.items()}
            bundle = board.set_up(ours)
            hello = board.hello()
            if self.there is not None:
                board.store(self.there.paths)
            first = self.options.threads[0]
            there, left_out = available(board, placed, self.images, first, self.boards.ncnn_library)
            rows: list[Row] = []
            scored: list[Accuracy] | None = None
            for threads in self.options.threads:
                cores = choose_cores(hello.cores, self.boards.cores, threads)
                measured, scored = self._round(there, described, threads, cores, scored)
                rows += measured
            host = Host(
                name=board.host,
                board=hello.board,
                machine=hello.machine,
                onnxruntime=board.engine(ONNXRUNTIME),
                emulated=hello.emulated,
                programs=_bytes_of(bundle),
                cores={str(core.id): core.capacity for core in hello.cores},
            )
            if self.boards.remove:
                board.clean_up()
        return HostRows(host, rows, left_out)

    def _round(
        self,
        placed: Sequence[Placed],
        described: Mapping[Path, FileDescription],
        threads: int,
        cores: Sequence[int],
        scored: Sequence[Accuracy] | None,
    ) -> tuple[list[Row], list[Accuracy]]:
        self.board.pin(cores)
        opened = [Opened(one.candidate, one.session(self.board, threads, self.there)) for one in placed]
        records = () if self.there is None else self.settings.dataset.subset(self.settings.timed_images).images
        bench = BoardBench(self.board, self.boards, cores, self.expected, records=records)
        measured = measure_round(opened, self.settings, threads, scored, bench)
        rows = []
        for one, row, seen in zip(opened, measured, bench.observed, strict=True):
            made = make_row(described[one.candidate.file.path], one, row)
            rows.append(
                made.model_copy(
                    update={
                        "host": self.board.host,
                        "cores": _core_text(self.boards.cores, cores),
                        "conditions": seen.conditions,
                        "sustained": seen.sustained,
                        "energy": seen.energy,
                        "read_ms": seen.read_ms,
                        "prepare_ms": seen.prepare_ms,
                        "notes": [*made.notes, *seen.notes],
                    }
                )
            )
        return rows, [row.accuracy for row in measured]


def _core_text(wanted: str, cores: Sequence[int]) -> str:
    return f"{wanted} {','.join(map(str, cores))}".strip()


def _bytes_of(bundle: Bundle) -> dict[str, int]:
    names = (CONSUMER, LIBRARY, RUNTIME)
    return {name: file.stat().st_size for name, file in zip(names, bundle.files, strict=True)}


def _expected(candidates: Sequence[Candidate], images: "Sequence[Photo]") -> Expected:
    """What every plain model finds in the timed images, by stock ONNX Runtime on this machine."""
    found: dict[Path, list[Detections]] = {}
    for candidate in candidates:
        path = candidate.reference or candidate.loaded.path
        if path not in found:
            plain = replace(candidate.loaded, path=path, packed=False)
            artifact = open_session(plain, engine="onnxruntime", threads=1)
            found[path] = [artifact.predict(image) for image in images]
    return found
