"""Child processes: they import nothing of the working folder, and end with their parent."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import lth_deploy
from lth_deploy import processes
from tests.waiting import has_ended, killed_at_the_end, wait_until

PACKAGE = Path(lth_deploy.__file__).parent
STARTERS = {"processes.py", "workflow/limits/limited_process.py", "workflow/sweep/processes.py"}
"""Files that may start a process; all others call them."""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with modules of usual names that leave a mark when they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("json", "numpy", "typing", "signal", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv(processes.SAFE_PATH, raising=False)
    return tmp_path / "ran"


CODE = "import json, typing, signal; print('fine')"


def test_the_modules_would_be_run_by_a_plain_child(hostile: Path) -> None:
    subprocess.run([sys.executable, "-c", CODE], capture_output=True, timeout=300, check=False)
    assert "json" in hostile.read_text()


def test_a_child_and_its_children_import_nothing_of_the_working_folder(hostile: Path) -> None:
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CODE!r}], check=True)"
    done = processes.run_tied(processes.python("-c", inner), timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr
    assert not hostile.exists()


SPAWNING = """
    import multiprocessing
    import os

    from lth_deploy.processes import keep_working_folder_out

    if __name__ == "__main__":
        keep_working_folder_out()
        child = multiprocessing.get_context("spawn").Process(target=os.getpid)
        child.start()
        child.join(300)
        assert child.exitcode == 0
"""


def test_workers_that_libraries_start_import_nothing_of_it_either(hostile: Path, tmp_path: Path) -> None:
    program = tmp_path / "program" / "main.py"
    program.parent.mkdir()
    program.write_text(textwrap.dedent(SPAWNING))
    subprocess.run([sys.executable, str(program)], check=True, timeout=300)
    assert not hostile.exists()


PARENT = """
    from lth_deploy.processes import python, run_tied

    child = "import os, time; from lth_deploy.processes import end_with_parent; end_with_parent();"
    run_tied(python("-c", child + "open('child', 'w').write(str(os.getpid())); time.sleep(600)"), timeout=600)
"""


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with killed_at_the_end(subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT)], cwd=tmp_path)):
        file = tmp_path / "child"
        child = int(wait_until(lambda: file.exists() and file.read_text(), "the start of the child"))
    wait_until(lambda: has_ended(child), "the end of the child")


@pytest.mark.parametrize(
    "run",
    [
        lambda command, folder: processes.run_tied(command, timeout=1),
        lambda command, folder: processes.run_foreign(command, None, timeout=1),
        lambda command, folder: processes.run_program(command, folder, timeout=1),
    ],
    ids=["tied", "foreign", "program"],
)
def test_what_takes_too_long_is_ended_with_what_it_has_started(
    run: Callable[[list[str], Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "child"

    def late(process: "subprocess.Popen[str]", **given: float) -> None:
        wait_until(lambda: file.exists() and file.read_text().strip(), "the start of the child")
        raise subprocess.TimeoutExpired(process.args, given["timeout"])

    monkeypatch.setattr(subprocess.Popen, "communicate", late)
    with pytest.raises(subprocess.TimeoutExpired):
        run(["/bin/sh", "-c", f"sleep 600 & echo $! > {file}; wait"], tmp_path)
    child = int(file.read_text())
    wait_until(lambda: has_ended(child), "the end of the child")


def test_processes_are_started_in_one_way() -> None:
    """A child of another kind would import from the working folder."""
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(PACKAGE).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        wrong += [f"{name}:{node.lineno}" for node in ast.walk(tree) if name not in STARTERS and _starts(node)]
    assert not wrong, f"start processes with lth_deploy.processes: {wrong}"


@pytest.mark.parametrize("code", ["subprocess.run(a)", "os.system(a)", "subprocess.Popen(a)", "sys.executable"])
def test_the_rule_sees_what_starts_a_process(code: str) -> None:
    assert any(_starts(node) for node in ast.walk(ast.parse(code)))


def test_temporary_files_are_made_in_one_way() -> None:
    """Others would stay behind after a kill. A file without a name cannot."""
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tempfile"
            if named and node.attr != "TemporaryFile" and name != "disk/temporaries.py":
                wrong.append(f"{name}:{node.lineno}")
    assert not wrong, f"use storage.scratch: {wrong}"


def _starts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    names = {
        "subprocess": {"run", "Popen", "call", "check_call", "check_output", "getoutput"},
        "os": {"system", "popen", "fork", "forkpty", "posix_spawn", "execv", "execve", "spawnv", "spawnve"},
        "sys": {"executable"},
    }
    return node.attr in names.get(node.value.id, set())
