"""Every wait of a test has an end: otherwise one fault costs the whole run, and nobody learns which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import SECONDS

ROOT = Path(__file__).parents[1]
WAITING = "tests/waiting.py"
"""The file whose functions wait for all others."""


def test_no_test_waits_without_an_end() -> None:
    wrong = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        wrong += [f"{name}:{node.lineno}" for node in ast.walk(tree) if name != WAITING and _waits_for_ever(node)]
    assert not wrong, f"give a timeout, or use a function of {WAITING}: {wrong}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("subprocess.run(a, check=True)", True),
        ("subprocess.run(a, timeout=60)", False),
        ("process.wait()", True),
        ("process.wait(60)", False),
        ("process.communicate('')", True),
        ("process.communicate('', timeout=60)", False),
        ("thread.join()", True),
        ("thread.join(60)", False),
        ("', '.join(words)", False),
        ("process.stdout.readline()", True),
        ("os.waitpid(child, 0)", True),
        ("os.waitpid(child, os.WNOHANG)", False),
        ("with subprocess.Popen(a): pass", True),
        ("with killed_at_the_end(subprocess.Popen(a)): pass", False),
    ],
)
def test_the_law_sees_what_waits(code: str, found: bool) -> None:
    assert any(_waits_for_ever(node) for node in ast.walk(ast.parse(code))) is found


def test_no_wait_ends_before_a_busy_machine_is_ready() -> None:
    wrong = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        name = file.relative_to(ROOT).as_posix()
        if name != WAITING:
            wrong += [f"{name}:{line}" for line in _hasty(ast.parse(file.read_text(encoding="utf-8")))]
    assert not wrong, f"give at least {SECONDS:g} s, or wait for a condition with {WAITING}: {wrong}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("subprocess.run(a, timeout=60)", True),
        ("subprocess.run(a, timeout=300)", False),
        ("process.wait(60)", True),
        ("process.wait(left)", False),
        ("process.communicate('', timeout=60)", True),
        ("thread.join(5)", True),
        ("wait_until(lambda: both.join(1), 'the end')", False),
    ],
)
def test_the_law_sees_what_is_hasty(code: str, found: bool) -> None:
    assert bool(_hasty(ast.parse(code))) is found


def _hasty(tree: ast.AST) -> list[int]:
    """Lines that wait for a process or a thread for a fixed time that is too short."""
    patient = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "wait_until"
        for inner in ast.walk(node)
    }
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in patient:
            times = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
            times += node.args[:1] if node.func.attr in ("wait", "join") else []
            waits = node.func.attr in ("run", "check_output", "wait", "join", "communicate")
            lines += [node.lineno for time in times if waits and _is_short(time)]
    return lines


def _is_short(time: ast.expr) -> bool:
    return isinstance(time, ast.Constant) and isinstance(time.value, int | float) and time.value < SECONDS


def _waits_for_ever(node: ast.AST) -> bool:
    if isinstance(node, ast.withitem):
        # Its end waits for the process, also after a failure.
        node = node.context_expr
        return isinstance(node, ast.Call) and ast.unparse(node.func) == "subprocess.Popen"
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    name, bounded = node.func.attr, any(keyword.arg == "timeout" for keyword in node.keywords)
    owner = ast.unparse(node.func.value)
    if owner == "subprocess":
        return name in ("run", "call", "check_call", "check_output") and not bounded
    if name in ("wait", "join"):
        return not node.args and not bounded
    if name == "waitpid":
        return "WNOHANG" not in ast.unparse(node)
    if name == "communicate":
        return not bounded
    return name == "readline" and owner.endswith("stdout")


def test_a_test_that_hangs_ends_and_shows_where(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text("import time\n\n\ndef test_that_hangs():\n    time.sleep(600)\n")
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-o", "faulthandler_timeout=1"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *settings, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode != 0
    assert "in test_that_hangs" in done.stderr
