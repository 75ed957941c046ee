"""Folders that one process holds, and temporary folders of processes that are dead."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from lth_deploy import storage
from lth_deploy.errors import StorageError, UsageError
from tests.waiting import next_line


def _python(code: str, *arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


RACER = """
    import sys, time
    from pathlib import Path
    from lth_deploy import storage
    from lth_deploy.errors import StorageError, UsageError

    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with storage.locked(Path(sys.argv[1])):
            print("won", flush=True)
            sys.stdin.readline()
    except StorageError as error:
        print("refused", flush=True)
"""


def test_of_processes_that_start_together_one_holds_the_folder(tmp_path: Path) -> None:
    for turn in range(5):
        racers = [_python(RACER, tmp_path / str(turn)) for _ in range(4)]
        assert [next_line(racer) for racer in racers] == ["ready"] * 4
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        assert sorted(next_line(racer) for racer in racers) == ["refused"] * 3 + ["won"]
        for racer in racers:
            racer.communicate("\n", timeout=300)


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / storage.LOCK).symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic link"), storage.locked(tmp_path / "run"):
        pytest.fail("a link was locked")
    assert not victim.exists()


def test_what_the_lock_file_holds_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / storage.LOCK).write_text("mine")
    with storage.locked(tmp_path):
        pass
    assert (tmp_path / storage.LOCK).read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_lock_file_of_another_user_can_be_held(tmp_path: Path) -> None:
    (tmp_path / storage.LOCK).touch()
    (tmp_path / storage.LOCK).chmod(0o444)
    with storage.locked(tmp_path), pytest.raises(StorageError, match="another process"), storage.locked(tmp_path):
        pytest.fail("two hold it")


def test_a_folder_that_was_deleted_while_a_process_waited_for_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of the lock file and the lock, its holder deletes file and folder."""
    import fcntl

    flock, folder = fcntl.flock, tmp_path / "run"
    with storage.locked(folder):
        pass

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (folder / storage.LOCK).unlink()
        folder.rmdir()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with storage.locked(folder):
        assert (folder / storage.LOCK).is_file()
        with pytest.raises(StorageError, match="another process"), storage.locked(folder):
            pytest.fail("two hold it")


def test_a_folder_is_deleted_only_when_it_holds_nothing_but_its_lock(tmp_path: Path) -> None:
    with storage.locked(tmp_path / "run"):
        (tmp_path / "run" / "x").touch()
        storage.remove_empty_locked(tmp_path / "run")
        assert (tmp_path / "run" / storage.LOCK).exists()
        (tmp_path / "run" / "x").unlink()
        storage.remove_empty_locked(tmp_path / "run")
        assert not (tmp_path / "run").exists()


HOLDER = """
    import sys
    from lth_deploy import storage

    with storage.scratch("test") as folder:
        (folder / "large.bin").write_bytes(b"x")
        print(folder, flush=True)
        sys.stdin.read()
"""


def test_scratch_folders_of_dead_processes_are_deleted_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    (tmp_path / "lth-deploy-results-20261128").mkdir()
    (tmp_path / "lth-deploy-results-20261128" / "mine.txt").touch()
    dead, living = (_python(HOLDER, env=environment) for _ in range(2))
    left, held = Path(next_line(dead)), Path(next_line(living))
    dead.send_signal(signal.SIGKILL)
    dead.communicate(timeout=300)
    assert (left / "large.bin").exists()
    with storage.scratch("test") as own:
        assert not left.exists()
        assert (held / "large.bin").exists()
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not own.exists()
    living.communicate("", timeout=300)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lth-deploy-results-20261128"]


def test_a_scratch_folder_that_is_a_link_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = tmp_path / "photos"
    target.mkdir()
    (target / ".lth-scratch").touch()
    (tmp_path / "lth-deploy-x-12345678").symlink_to(target)
    with storage.scratch("test"):
        pass
    assert (target / ".lth-scratch").exists()


def test_a_full_disk_for_scratch_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="cannot make a temporary folder in"), storage.scratch("test"):
        pytest.fail("there is no such folder")


def test_the_folder_of_something_else_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    def look() -> None:
        if (tmp_path / "photos").exists():
            raise UsageError("it holds photos")

    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="photos"), storage.locked(tmp_path, look):
        pytest.fail("it was taken")
    assert [entry.name for entry in tmp_path.iterdir()] == ["photos"]


def test_what_another_process_has_begun_is_looked_at_with_the_lock_held(tmp_path: Path) -> None:
    """The first look sees a half-made folder, whose owner holds its lock."""
    looks = []

    def look() -> None:
        looks.append((tmp_path / "half").exists())
        if looks[-1]:
            raise UsageError("half-made")

    with storage.locked(tmp_path):
        (tmp_path / "half").touch()
        with pytest.raises(StorageError, match="another process"), storage.locked(tmp_path, look):
            pytest.fail("two hold it")
    with pytest.raises(UsageError, match="half-made"), storage.locked(tmp_path, look):
        pytest.fail("it was taken")
    (tmp_path / "half").unlink()
    with storage.locked(tmp_path, look):
        pass
    assert looks == [True, True, True, False, False]
