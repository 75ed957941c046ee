"""Drawing cases, running them, grouping what went wrong, and keeping one case of every group."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.case import Case, lay_out, load_case, save_case
from tests.fuzz.child import TEMPORARIES, Ending, Limits, run_limited
from tests.fuzz.verdict import Fault, judge
from tests.waiting import exit_code_of_fork

SECRET = b"not to be read\n"
_LIMITS = Limits()
_SECONDS_FOR_SEEDS = 600.0


@dataclass(frozen=True)
class Target:
    """Something that cases are drawn for. prepare: writes seeds into a folder. warm: imported before children fork."""

    name: str
    prepare: Callable[[Path], None]
    draw: Callable[[Path, Random], Case]
    warm: tuple[str, ...]
    limits: Limits = _LIMITS


@dataclass
class Group:
    """Faults with one cause."""

    fault: Fault
    first: int
    count: int = 1


@dataclass
class Tally:
    """What came of one target's cases. codes: exit codes of cases without a fault."""

    cases: int = 0
    seconds: float = 0.0
    codes: Counter[int] = field(default_factory=Counter)
    groups: dict[str, Group] = field(default_factory=dict)
    peak: int = 0
    slowest: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As in the file of figures."""
        return {
            "inputs": self.cases,
            "seconds": round(self.seconds, 1),
            "exit_codes": {str(code): count for code, count in sorted(self.codes.items())},
            "most_memory_bytes": self.peak,
            "slowest_seconds": round(self.slowest, 2),
            "faults": {
                key: {"count": group.count, "first_input": group.first} for key, group in sorted(self.groups.items())
            },
        }


class Bench:
    """Where cases run: seeds of targets, a scratch folder, and beside it a file that no case may read."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        base = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="lth-fuzz-", dir=base))
        self.scratch = self.root / "scratch"
        (self.root / "secret.bin").write_bytes(SECRET)
        self._prepared: set[str] = set()

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def seeds(self, target: Target) -> Path:
        """The target's seeds, made in a child, so that no thread of a runtime lives where cases are forked."""
        folder = self.root / "seeds" / target.name
        if target.name not in self._prepared:
            folder.mkdir(parents=True)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    target.prepare(folder)
                    code = 0
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            if exit_code_of_fork(child, _SECONDS_FOR_SEEDS) != 0:
                raise RuntimeError(f"the seeds of {target.name} could not be made")
            self._prepared.add(target.name)
        return folder

    def run(self, target: Target, case: Case) -> tuple[Ending, Fault | None]:
        """Run a case in an empty scratch folder and judge how it ended."""
        seeds = self.seeds(target)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        lay_out(case, self.scratch, seeds)
        before = states(self.scratch)
        ending = run_limited(lambda: _command(case.arguments), self.scratch, self.root / "logs", target.limits)
        return ending, judge(
            case, ending, before, states(self.scratch) | left_behind(self.root / "logs"), target.limits
        )


def _command(arguments: tuple[str, ...]) -> None:
    from lth_deploy import cli
    from tests.fuzz.forked_tasks import fork_tasks

    fork_tasks()
    # The last resort of the command line would hide what this campaign looks for.
    cli.unforeseen = _again
    sys.argv = ["lth-deploy", *arguments]
    cli.main()


def _again(error: Exception) -> str:
    raise error


def left_behind(logs: Path) -> dict[str, object]:
    """Temporary files that a child did not delete; ONNX Runtime leaves one of its own."""
    found = states(logs / TEMPORARIES)
    return {f"$TMPDIR/{name}": state or name for name, state in found.items() if not name.startswith(".ses")}


def states(folder: Path) -> dict[str, object]:
    """Every file below a folder with what tells that it was written to."""
    found: dict[str, object] = {}
    for place, names, files in os.walk(folder):
        for name in (*names, *files):
            path = Path(place) / name
            facts = path.lstat()
            relative = str(path.relative_to(folder))
            found[relative] = (facts.st_ino, facts.st_size, facts.st_mtime_ns) if name in files else None
    return found


def drawn(target: Target, seeds: Path, seed: int, number: int) -> Case:
    """Case `number` of a campaign: a function of target, seed and number."""
    return target.draw(seeds, Random(f"{target.name} {seed} {number}"))


def fuzz(
    bench: Bench, target: Target, seed: int, first: int, tally: Tally, faults: Path, more: Callable[[int], bool]
) -> int:
    """Run cases from number `first` while `more(done)`; the number of the next one.

    Of each group of faults, the first case lies in a folder below `faults`.
    """
    seeds = bench.seeds(target)
    start, number = time.monotonic(), first
    while more(number - first):
        case = drawn(target, seeds, seed, number)
        ending, fault = bench.run(target, case)
        tally.cases += 1
        tally.peak, tally.slowest = max(tally.peak, ending.peak), max(tally.slowest, ending.seconds)
        if fault is None:
            tally.codes[ending.code or 0] += 1
        elif fault.group in tally.groups:
            tally.groups[fault.group].count += 1
        else:
            tally.groups[fault.group] = Group(fault, number)
            keep(case, fault, ending, faults, {"seed": seed, "number": number})
        number += 1
    tally.seconds += time.monotonic() - start
    return number


def keep(case: Case, fault: Fault, ending: Ending, faults: Path, notes: dict[str, Any]) -> Path:
    """Write a case that went wrong to a folder of its own, with the command that repeats it."""
    digest = hashlib.sha256(fault.group.encode()).hexdigest()[:8]
    folder = faults / f"{case.target}-{fault.kind}-{digest}"
    repeat = f"python -m tests.fuzz --repeat {folder}"
    save_case(case, folder, {**notes, "fault": fault.group, "detail": fault.detail, "repeat": repeat})
    (folder / "stderr.txt").write_text(ending.err + ending.trace, encoding="utf-8", errors="backslashreplace")
    said = f"fault: {fault.group}\n  {fault.detail[:300]}\n  {repeat}"
    print(said.encode("ascii", "backslashreplace").decode(), flush=True)
    return folder


def repeat(bench: Bench, targets: dict[str, Target], folder: Path) -> tuple[Ending, Fault | None]:
    """Run a case that was kept."""
    case = load_case(folder)
    return bench.run(targets[case.target], case)
