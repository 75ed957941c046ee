"""`python -m tests.fuzz`: hostile inputs of every kind, for as long as asked, and what came of them.

    python -m tests.fuzz --minutes 30 --json figures.json     all targets, the time shared between them
    python -m tests.fuzz --inputs 50 --only onnx --seed 7     so many inputs of one target
    python -m tests.fuzz --repeat FOLDER...                   inputs that were kept, such as tests/fuzz/found/*

Exit code 1 when there is a fault. Each fault's first input lies in a folder with the command that repeats it.
"""

import argparse
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.fuzz import native  # noqa: E402
from tests.fuzz.campaign import Bench, Tally, Target, fuzz, repeat  # noqa: E402
from tests.fuzz.child import without_network  # noqa: E402
from tests.fuzz.figures import machine_facts, table  # noqa: E402
from tests.fuzz.targets import SHORT, TARGETS  # noqa: E402

_NAMES = (*TARGETS, *native.NAMES)
_SLICE = 20.0  # seconds of one target before the next one has its turn


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="A fuzz campaign over every input.")
    parser.add_argument("--minutes", type=float, help="share so much time between the targets")
    parser.add_argument("--inputs", type=int, help="so many inputs of each target of the command line instead")
    parser.add_argument("--native-inputs", type=int, default=100_000, help="so many mutated nodes of each kernel set")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of {', '.join(_NAMES)}")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--faults", type=Path, default=PROJECT / "build" / "fuzz" / "faults")
    parser.add_argument("--repeat", type=Path, nargs="+", metavar="FOLDER", help="run kept inputs instead")
    options = parser.parse_args(arguments)
    if not options.repeat and (options.minutes is None) == (options.inputs is None):
        parser.error("give --minutes or --inputs")
    for name in options.only or ():
        if name not in _NAMES:
            parser.error(f"--only {name}: choose from {', '.join(_NAMES)}")
    return options


def _warm(targets: Sequence[Target]) -> None:
    """Import before children fork, so that an input costs milliseconds and not seconds."""
    warnings.filterwarnings("ignore")
    for module in dict.fromkeys(name for target in targets for name in target.warm):
        importlib.import_module(module)


def _repeat_all(folders: Sequence[Path]) -> int:
    bench, failed = Bench(), 0
    names = {json.loads((folder / "case.json").read_text())["target"] for folder in folders}
    _warm([TARGETS[name] for name in names])
    without_network()
    try:
        for folder in folders:
            ending, fault = repeat(bench, TARGETS, folder)
            failed += fault is not None
            said = ending.err.strip().splitlines()[-1:] or [""]
            print(f"{folder.name}: {fault.group if fault else f'exit code {ending.code}'}: {said[0][:300]}")
            if fault and len(folders) == 1:
                print(ending.err[-6000:], ending.trace[-3000:])
    finally:
        bench.close()
    return int(failed > 0)


def _campaign(options: argparse.Namespace) -> int:
    chosen = options.only or [*native.NAMES, *(SHORT if options.minutes is None else TARGETS)]
    targets = [TARGETS[name] for name in chosen if name in TARGETS]
    share = 60 * (options.minutes or 0) / len(chosen)
    figures = {}
    for name in chosen:
        if name in native.NAMES:
            figures[name] = native.run(name, options.seed, options.native_inputs, share or None, options.faults)
            _write(figures, options)
    tallies = {target.name: Tally() for target in targets}
    _warm(targets)
    bench = Bench()
    without_network()
    try:
        following = {target.name: options.first for target in targets}
        while waiting := [t for t in targets if _wants_more(tallies[t.name], options.inputs, share)]:
            for target in waiting:
                tally, first = tallies[target.name], following[target.name]
                more = _more(tally, options.inputs, tally.seconds + min(_SLICE, share - tally.seconds))
                following[target.name] = fuzz(bench, target, options.seed, first, tally, options.faults, more)
            # A campaign that is ended early has figures too.
            figures |= {name: tally.to_json() for name, tally in tallies.items()}
            _write(figures, options)
    finally:
        bench.close()
    print(table(figures))
    return int(any(entry["faults"] for entry in figures.values()))


def _write(figures: Mapping[str, Mapping[str, Any]], options: argparse.Namespace) -> None:
    if options.json:
        document = {**machine_facts(PROJECT), "seed": options.seed, "minutes": options.minutes, "targets": figures}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _wants_more(tally: Tally, inputs: int | None, share: float) -> bool:
    return tally.cases < inputs if inputs is not None else tally.seconds < share


def _more(tally: Tally, inputs: int | None, end: float) -> Callable[[int], bool]:
    """Whether a target goes on: until it has its inputs, or the `end` of its seconds so far."""
    start = time.monotonic() - tally.seconds
    return lambda done: done < inputs if inputs is not None else time.monotonic() - start < end


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    return _repeat_all(options.repeat) if options.repeat else _campaign(options)


if __name__ == "__main__":
    sys.exit(main())
