"""Rows of a benchmark from hosts: each host has all candidates, several hosts are measured at once."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.boards.board import Board
from lth_deploy.boards.board import Opened as OpenedThere
from lth_deploy.boards.bundle import CONSUMER, LIBRARY, RUNTIME, Bundle
from lth_deploy.boards.conditions import choose_cores
from lth_deploy.boards.drivers import LOCAL, Driver, driver_of
from lth_deploy.boards.remote import look
from lth_deploy.errors import BoardError, UsageError
from lth_deploy.measure.board_results import Host
from lth_deploy.measure.results import Row
from lth_deploy.workflow.artifact import open_session
from lth_deploy.workflow.benchmark.candidates import (
    KERNELS,
    Candidate,
    calibration_images,
    collect_candidates,
    quantize_baseline,
)
from lth_deploy.workflow.benchmark.describe_file import FileDescription
from lth_deploy.workflow.benchmark.measure_round import Accuracy, Opened, RoundSettings, measure_round
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.rows import make_row
from lth_deploy.workflow.boards.bench import BoardBench
from lth_deploy.workflow.boards.options import BoardOptions
from lth_deploy.workflow.boards.remote_session import RemoteArtifact, RemoteSession
from lth_deploy.workflow.gates.class_names import hold_control_classes

if TYPE_CHECKING:
    from lth_deploy.data.records import CocoDataset
    from lth_deploy.detections import Detections

ENGINES = ("onnxruntime", KERNELS)
"""What runs on boards: stock ONNX Runtime, and with the kernels."""

Expected = Mapping[Path, "Sequence[Detections]"]

log = logging.getLogger(__name__)


def board_candidates(
    artifacts: Sequence[Path], baseline: Path | None, dataset: "CocoDataset", options: BenchmarkOptions, workspace: Path
) -> list[Candidate]:
    """The dense baseline, the artifacts with and without kernels, and the baseline in INT8 where that is asked for.

    Raises:
        UsageError: an engine that does not run on boards, or fixed shapes.
    """
    unknown = [engine for engine in options.engines or () if engine not in ENGINES]
    if unknown or options.shapes is not None:
        what = f"--engine {unknown[0]}" if unknown else "--shape"
        raise UsageError(f"{what} is not measured on hosts; there the engines are {' and '.join(ENGINES)}")
    engines = options.engines or ENGINES
    found = collect_candidates(artifacts, baseline, engines, options.decoder, workspace, verify=options.verify)
    for candidate in found[1:]:
        hold_control_classes(candidate.file, found[0].file)
    if options.int8:
        calibration = calibration_images(options.calibration_folder, dataset, options.calibration)
        found.append(quantize_baseline(found[0], *calibration, workspace))
    return found


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


def measure_hosts(
    drivers: Sequence[Driver],
    candidates: Sequence[Candidate],
    described: Mapping[Path, FileDescription],
    settings: RoundSettings,
    options: BenchmarkOptions,
    boards: BoardOptions,
) -> tuple[list[Row], list[Host], list[str]]:
    """The rows of all hosts, the hosts, and why some are left out.

    Remote hosts are measured at once; this machine, which works for them all, comes before them.

    Raises:
        BoardError: no host could be measured. ParityError: a host computes something else.
    """
    expected = _expected(candidates, settings)
    here = [driver for driver in drivers if driver.host == LOCAL]
    done: dict[str, Future[tuple[list[Row], Host]]] = {}
    for group in (here, [driver for driver in drivers if driver.host != LOCAL]):
        with ThreadPoolExecutor(max(1, len(group))) as pool:
            for driver in group:
                board = Board(driver, boards.folder, boards.bundle)
                done[driver.host] = pool.submit(
                    _measure_host, board, candidates, described, settings, options, boards, expected
                )
    rows, hosts, left_out, failed = list[Row](), list[Host](), list[str](), list[BoardError]()
    for driver in drivers:
        try:
            own, host = done[driver.host].result()
        except BoardError as error:
            log.error("%s", error)
            left_out.append(str(error))
            failed.append(error)
            continue
        rows += own
        hosts.append(host)
    if not hosts:
        raise failed[0]
    return rows, hosts, left_out


def _measure_host(
    board: Board,
    candidates: Sequence[Candidate],
    described: Mapping[Path, FileDescription],
    settings: RoundSettings,
    options: BenchmarkOptions,
    boards: BoardOptions,
    expected: Expected,
) -> tuple[list[Row], Host]:
    digests = {candidate.loaded.path: storage.sha256(candidate.loaded.path) for candidate in candidates}
    rows: list[Row] = []
    scored: list[Accuracy] | None = None
    with board:
        bundle = board.set_up({digest: path for path, digest in digests.items()})
        hello = board.hello()
        for threads in options.threads:
            cores = choose_cores(hello.cores, boards.cores, threads)
            board.pin(cores)
            opened = [
                Opened(one, RemoteArtifact(one.loaded, RemoteSession(board, _there(one, digests, threads))))
                for one in candidates
            ]
            bench = BoardBench(board, boards, cores, expected)
            measured = measure_round(opened, settings, threads, scored, bench)
            scored = [row.accuracy for row in measured]
            for one, row, seen in zip(opened, measured, bench.observed, strict=True):
                made = make_row(described[one.candidate.file.path], one, row)
                rows.append(
                    made.model_copy(
                        update={
                            "host": board.host,
                            "cores": _core_text(boards.cores, cores),
                            "conditions": seen.conditions,
                            "sustained": seen.sustained,
                            "energy": seen.energy,
                            "notes": [*made.notes, *seen.notes],
                        }
                    )
                )
        if boards.remove:
            board.clean_up()
    host = Host(
        name=board.host,
        board=hello.board,
        machine=hello.machine,
        onnxruntime=hello.onnxruntime,
        emulated=hello.emulated,
        programs=_bytes_of(bundle),
        cores={str(core.id): core.capacity for core in hello.cores},
    )
    return rows, host


def _there(candidate: Candidate, digests: Mapping[Path, str], threads: int) -> OpenedThere:
    return OpenedThere(digests[candidate.loaded.path], candidate.engine == KERNELS, threads)


def _core_text(wanted: str, cores: Sequence[int]) -> str:
    return f"{wanted} {','.join(map(str, cores))}".strip()


def _bytes_of(bundle: Bundle) -> dict[str, int]:
    names = (CONSUMER, LIBRARY, RUNTIME)
    return {name: file.stat().st_size for name, file in zip(names, bundle.files, strict=True)}


def _expected(candidates: Sequence[Candidate], settings: RoundSettings) -> Expected:
    """What every plain model finds in the timed images, by stock ONNX Runtime on this machine."""
    from lth_deploy.data.images import read_record

    images = [read_record(record) for record in settings.dataset.subset(settings.timed_images).images]
    found: dict[Path, list[Detections]] = {}
    for candidate in candidates:
        path = candidate.reference or candidate.loaded.path
        if path not in found:
            plain = replace(candidate.loaded, path=path, packed=False)
            artifact = open_session(plain, engine="onnxruntime", threads=1)
            found[path] = [artifact.predict(image) for image in images]
    return found
