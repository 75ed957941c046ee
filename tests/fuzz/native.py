"""The C++ side: damaged nodes in the library's own host, and the fuzz harnesses of the parser and the constants.

`host-ISA` are nodes mutated by `lth_host mutate`, under AddressSanitizer and UndefinedBehaviorSanitizer, and for 64-bit
ARM under qemu without them: every node is refused, or computed as plain loops in double precision compute it.
`parser` and `constants` are the harnesses of `lth_deploy/kernels/host/fuzz_*.cpp`, driven by libFuzzer where there is
Clang, else by mutations that know nothing of coverage.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

KERNELS = ("amx", "amx_emulated", "avx512vnni", "avx512", "avxvnni", "avx2", "portable", "neon", "neon-portable")
HARNESSES = ("parser", "constants")
NAMES = tuple(f"host-{name}" for name in KERNELS) + HARNESSES
_CHUNK = 2000  # nodes of one process
_MAX_INPUT = 40_000  # bytes of an input of a harness
_SECONDS = 3600.0  # of one process, beyond those that were asked for


def run(name: str, seed: int, inputs: int, seconds: float | None, faults: Path) -> dict[str, Any]:
    """Figures of one target: at most `inputs` and about `seconds`. A target whose tools are absent says so."""
    entry: dict[str, Any] = {"inputs": 0, "seconds": 0.0, "faults": {}}
    start = time.monotonic()
    try:
        if name in HARNESSES:
            _harness(name, seed, inputs, seconds, faults, entry)
        else:
            _host(name.removeprefix("host-"), seed, inputs, seconds, faults, entry)
    except _AbsentError as absent:
        entry["note"] = f"not run: {absent}"
    except subprocess.TimeoutExpired as late:
        entry["note"] = f"not run to its end: {late.cmd[0]} took more than {late.timeout:.0f} s"
    entry["seconds"] = round(time.monotonic() - start, 1)
    return entry


class _AbsentError(Exception):
    """A compiler, an emulator or an instruction set is not here."""


def _host(isa: str, seed: int, inputs: int, seconds: float | None, faults: Path, entry: dict[str, Any]) -> None:
    command = _host_command(isa)
    entry["note"] = "under qemu-aarch64, no sanitizer" if isa.startswith("neon") else "address, undefined"
    outcomes: dict[str, int] = {}
    start, done = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as place:
        from tests.kernels.host_nodes import write_nodes

        folder = Path(place)
        nodes = write_nodes(folder)
        while done < inputs and (seconds is None or time.monotonic() - start < seconds):
            count, first = min(_CHUNK, inputs - done), seed * 10**9 + done
            ended = _start([*command, "mutate", count, first, *nodes], folder, isa.removeprefix("neon-"))
            done += count
            if ended.returncode != 0:
                entry["inputs"] = done
                _keep_node(isa, command, first, ended, nodes, faults, entry)
                return  # what follows in the chunk was not tried; the next run begins behind it
            for key, value in json.loads(ended.stdout).items():
                outcomes[key] = outcomes.get(key, 0) + value
            entry.update(inputs=done, outcomes=outcomes)


def _keep_node(
    isa: str,
    command: Sequence[object],
    first: int,
    ended: subprocess.CompletedProcess[str],
    nodes: Sequence[Path],
    faults: Path,
    entry: dict[str, Any],
) -> None:
    """The damaged node, and what repeats it: one mutation where the seed is known, else the whole chunk."""
    found = re.search(r"^seed (\d+): (.*)$", ended.stderr, re.MULTILINE)
    place = re.search(r"#\d+ \S+ in (lth::\S+)", ended.stderr)
    group = f"host-{isa}: {found[2][:80] if found else place[1] if place else f'status {ended.returncode}'}"
    kept = faults / f"host-{isa}-{hashlib.sha256(group.encode()).hexdigest()[:8]}"
    kept.mkdir(parents=True, exist_ok=True)
    for node in (*nodes, nodes[0].with_name("failed.node")):
        if node.exists():  # a process that a sanitizer ended has written no failed.node
            shutil.copy(node, kept)
    (kept / "stderr.txt").write_text(ended.stderr)
    seed, count = (int(found[1]), 1) if found else (first, _CHUNK)
    # A seed chooses among the nodes by their order.
    line = shlex.join(map(str, [*command, "mutate", count, seed, *(node.name for node in nodes)]))
    (kept / "repeat.txt").write_text(f"cd {kept} && LTH_ISA={isa.removeprefix('neon-')} {line}\n")
    entry["faults"][group] = {"count": 1, "first_input": seed}
    print(f"fault: {group}\n  see {kept}", flush=True)


@cache
def _host_command(isa: str) -> tuple[object, ...]:
    from tests.cross import EMULATOR, kernels_for_arm
    from tests.kernels.hosts import build_host

    if shutil.which("cmake") is None:
        raise _AbsentError("cmake is not installed")
    if isa.startswith("neon"):
        missing = [tool for tool in ("aarch64-linux-gnu-g++", EMULATOR[0]) if shutil.which(tool) is None]
        if missing:
            raise _AbsentError(f"{', '.join(missing)} not installed")
        return (*EMULATOR, kernels_for_arm() / "lth_host")
    host = build_host("address")
    if isa not in _instruction_sets(host):
        raise _AbsentError(f"this processor has no {isa}")
    return (host,)


@cache
def _instruction_sets(host: Path) -> tuple[str, ...]:
    """Those that the host can run on here, from what it says of one that does not exist."""
    with tempfile.TemporaryDirectory() as place:
        from tests.kernels.host_nodes import write_nodes

        node = write_nodes(Path(place))[0]
        ended = _start([host, "run", node, Path(place) / "out", 1], Path(place), "none")
    return tuple(ended.stderr.strip().rpartition(": ")[2].split(", "))


def _start(
    command: Sequence[object], folder: Path, isa: str | None = None, timeout: float = _SECONDS
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "LTH_ISA"}
    environment |= {"ASAN_OPTIONS": "abort_on_error=1:allocator_may_return_null=1", "UBSAN_OPTIONS": "abort_on_error=1"}
    if isa is not None:
        environment["LTH_ISA"] = isa
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        env=environment,
        timeout=timeout,
    )


def _harness(name: str, seed: int, inputs: int, seconds: float | None, faults: Path, entry: dict[str, Any]) -> None:
    program = _build_harness(name)
    libfuzzer = program.parent.name.endswith("clang++")
    entry["note"] = "libFuzzer" if libfuzzer else "the built-in driver, blind to coverage"
    kept = faults / name
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "corpus"
        corpus.mkdir()
        _write_corpus(name, corpus)
        limits = [f"-max_len={_MAX_INPUT}", f"-seed={seed}", f"-artifact_prefix={place}/", "-timeout=20"]
        if libfuzzer:
            limits += ["-rss_limit_mb=2048", "-verbosity=1", "-print_final_stats=1"]
        limits.append(f"-runs={inputs}" if seconds is None else f"-max_total_time={max(1, int(seconds))}")
        ended = _start([program, *limits, corpus], Path(place), timeout=_SECONDS + (seconds or 0))
        runs = re.search(r"(?:number_of_executed_units: |Done )(\d+)", ended.stderr)
        entry["inputs"] = int(runs[1]) if runs else 0
        covered = re.findall(r"cov: (\d+)", ended.stderr)
        if covered:
            entry["outcomes"] = {"covered_edges": int(covered[-1])}
        if ended.returncode == 0:
            return
        kept.mkdir(parents=True, exist_ok=True)
        for file in Path(place).glob("*-*"):
            shutil.copy(file, kept)
        (kept / "stderr.txt").write_text(ended.stderr[-50_000:])
        (kept / "repeat.txt").write_text(f"{program} {kept}/FILE\n")
        summary = re.findall(r"SUMMARY: (.*)", ended.stderr) or [f"status {ended.returncode}"]
        entry["faults"][f"{name}: {summary[-1][:120]}"] = {"count": 1, "first_input": seed}
        print(f"fault: {name}: {summary[-1][:200]}\n  see {kept}", flush=True)


@cache
def _build_harness(name: str) -> Path:
    from tests.cross import PROJECT, cmake_build

    if shutil.which("cmake") is None:
        raise _AbsentError("cmake is not installed")
    source, target = PROJECT / "lth_deploy" / "kernels", {"parser": "lth_fuzz_program"}.get(name, "lth_fuzz_constants")
    for compiler in ("clang++", "g++"):
        if shutil.which(compiler) is None:
            continue
        folder = PROJECT / "build" / f"fuzz-{compiler}"
        try:
            cmake_build(source, folder, "-DLTH_FUZZ=ON", f"-DCMAKE_CXX_COMPILER={compiler}")
        except AssertionError:
            if compiler == "g++":
                raise
            continue  # a Clang without libFuzzer's runtime
        return folder / target
    raise _AbsentError("no clang++ and no g++")


def _write_corpus(name: str, folder: Path) -> None:
    from tests.kernels.host_nodes import NODES, write_nodes

    if name == "constants":
        for file in write_nodes(folder):
            if file.stat().st_size > _MAX_INPUT:
                file.unlink()
        return
    from lth_deploy.kernels.program.text import parse

    for number, (source, _) in enumerate(NODES.values()):
        (folder / str(number)).write_bytes(bytes([parse(source).node_inputs]) + source.encode())
