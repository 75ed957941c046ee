"""A few seconds of the campaign with fixed seeds, and every input that once broke something."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FOUND = sorted(file.parent for file in (PROJECT / "tests" / "fuzz" / "found").glob("*/case.json"))
# Python inputs of each target, and mutated nodes.
INPUTS = 8


def _fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=600)


def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="recipes and runs need the extra 'train'")
    figures = tmp_path / "figures.json"
    from tests.fuzz.targets import SHORT

    only = [part for name in SHORT for part in ("--only", name)]
    done = _fuzz("--inputs", INPUTS, "--seed", 20, *only, "--faults", tmp_path / "faults", "--json", figures)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    targets = json.loads(figures.read_text())["targets"]
    assert set(targets) == set(SHORT)
    assert all(entry["inputs"] == INPUTS for entry in targets.values())
    # Damage that is refused, and damage that nobody minds.
    codes = {code for entry in targets.values() for code in entry["exit_codes"]}
    assert {"0", "2", "3"} <= codes


def test_the_parsers_harness_is_built_and_finds_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = ["--inputs", 0, "--native-inputs", 20_000, "--only", "parser"]
    done = _fuzz(*command, "--faults", tmp_path / "faults", "--json", figures)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    entry = json.loads(figures.read_text())["targets"]["parser"]
    assert entry["inputs"] >= 20_000
    assert entry["note"] in ("libFuzzer", "the built-in driver, blind to coverage")


@pytest.mark.slow
def test_constants_and_mutated_nodes_find_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    only = ["--only", "constants", "--only", "host-avx2"]
    done = _fuzz("--inputs", 0, "--native-inputs", 2000, *only, "--faults", tmp_path / "faults", "--json", figures)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    entries = json.loads(figures.read_text())["targets"]
    assert entries["constants"]["inputs"] >= 2000


def test_what_was_found_once_is_refused_or_computed_now() -> None:
    pytest.importorskip("torch", reason="recipes and runs need the extra 'train'")
    done = _fuzz("--repeat", *FOUND)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert len(done.stdout.splitlines()) == len(FOUND)


def test_the_same_seed_draws_the_same_inputs(tmp_path: Path) -> None:
    from random import Random

    from tests.fuzz.mutate_bytes import damaged, damaged_text
    from tests.fuzz.mutate_images import damaged_picture
    from tests.fuzz.mutate_tree import damaged_json

    for draw in (
        lambda random: damaged(bytes(range(256)), random),
        lambda random: damaged_text("a: 1\nb: [2, 3]\n", random),
        lambda random: damaged_json({"a": [1, "x", None]}, random),
        damaged_picture,
    ):
        inputs = [draw(Random(number)) for number in range(50)]
        assert inputs == [draw(Random(number)) for number in range(50)]
        assert len(set(inputs)) > 20


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("raise KeyError('x')", "traceback"),
        ("import os; os.abort()", "signal"),
        ("list(iter(int, 1))", "memory"),
        ("while True: pass", "hang"),
        ("print('error: far too short', file=sys.stderr); sys.exit(9)", "message"),
        ("print('error: \\x1b[31mred', file=sys.stderr); sys.exit(3)", "message"),
        ("open('half', 'w').write('x'); print('error: it ended early', file=sys.stderr); sys.exit(3)", "leftover"),
        ("open('given', 'w').write('x')", "leftover"),
        ("open('../secret.bin').read()", "reach"),
        ("open('../outside', 'w')", "reach"),
        ("print('error: it was refused', file=sys.stderr); sys.exit(3)", None),
    ],
)
def test_every_kind_of_fault_is_seen(action: str, kind: str | None, tmp_path: Path) -> None:
    """In a process of its own: a child is never forked from a process with threads."""
    code = (
        "import sys; from tests.fuzz.probe import probe\n"
        f"fault = probe({action!r}, {str(tmp_path)!r})\n"
        "print(fault.kind if fault else None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, timeout=300)
    assert done.stdout.strip() == str(kind), done.stderr[-3000:]
