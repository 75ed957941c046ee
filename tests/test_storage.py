"""Files that are either the old or the new one, whatever happens in between."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lth_deploy import storage
from lth_deploy.errors import DataError, StorageError
from lth_deploy.mask import save_masks


def _leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if ".tmp-" in file.name]


def _refusing(code: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    return write


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some disk space and resume"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "choose a folder that you may write to"),
        (errno.EIO, "check the disk and the path"),
    ],
)
def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path: Path, code: int, advice: str) -> None:
    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match=advice) as caught:
        storage.write_atomically(path, _refusing(code))
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert caught.value.exit_code == 6
    assert path.read_bytes() == b"old"
    assert not _leftovers(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_the_last_steps_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(StorageError):
        storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert not _leftovers(tmp_path)


def test_an_interrupt_leaves_the_old_file_and_passes_through(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "state.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        storage.write_atomically(path, interrupted)
    assert path.read_bytes() == b"old"
    assert not _leftovers(tmp_path)


def test_the_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("sync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (events.append("rename"), replace(self, to))[1])
    storage.write_bytes(tmp_path / "x", b"data")
    assert events == ["sync", "rename", "sync"], "the file, its name, the folder"


KILLED_WRITER = """
    import os, signal, sys
    from pathlib import Path
    from lth_deploy import storage

    def write(path):
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    storage.write_atomically(Path(sys.argv[1]), write)
"""


def test_a_killed_writer_leaves_the_old_file_and_rubbish_that_is_swept_up(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "state.bin"
    storage.write_bytes(path, b"old")
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(path)], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(_leftovers(tmp_path)) == 1
    storage.remove_stale_temporaries(tmp_path)
    assert not _leftovers(tmp_path)
    assert path.read_bytes() == b"old"


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from lth_deploy.errors import StorageError
    from lth_deploy.mask import save_masks

    # The kernel refuses to let a file grow: the nearest thing to a full disk that needs no root.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        save_masks(Path(sys.argv[1]), {"layer": np.ones(1 << 20, dtype=bool)})
    except StorageError as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no limit on file sizes")
def test_a_disk_that_refuses_tensors_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    save_masks(path, {"layer": np.zeros(3, dtype=bool)})
    before = path.read_bytes()
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 6, process.stderr
    assert f"cannot write {path}: File too large" in process.stdout
    assert path.read_bytes() == before
    assert not _leftovers(tmp_path)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        storage.write_bytes(tmp_path / "taken" / "x", b"")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        storage.require_space(tmp_path / "taken", 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="a folder is where the file should be"):
        storage.write_bytes(tmp_path / "folder", b"")
    assert not _leftovers(tmp_path)


def test_space_is_asked_for_before_work_starts(tmp_path: Path) -> None:
    storage.require_space(tmp_path / "new", 1)
    with pytest.raises(StorageError, match=r"MB free, 1000000000000 MB are needed; free some space"):
        storage.require_space(tmp_path / "new", 10**18)


def test_json_comes_back_and_not_a_number_is_refused(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "ü"]}
    storage.write_json(tmp_path / "x.json", value)
    assert storage.read_json(tmp_path / "x.json") == value
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert storage.read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b""])
def test_damaged_json_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*x\.json as JSON"):
        storage.read_json(tmp_path / "x.json")
    with pytest.raises(DataError, match="no such file"):
        storage.read_json(tmp_path / "y.json")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_gets_the_rights_that_the_umask_says(tmp_path: Path, umask: int) -> None:
    """safetensors puts a file with rights of its own in place."""
    before = os.umask(umask)
    try:
        storage.write_bytes(tmp_path / "a", b"x")
        save_masks(tmp_path / "b", {"layer": np.ones(3, dtype=bool)})
        storage.create_bytes(tmp_path / "c", b"x")
        storage.append_line(tmp_path / "d", b"x")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "abcd"} == {0o666 & ~umask}


def test_temporary_files_are_private_and_their_names_cannot_be_foreseen(tmp_path: Path) -> None:
    seen = []

    def write(path: Path) -> None:
        assert path.parent.parent == tmp_path
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert str(os.getpid()) not in path.parent.name
        seen.append(path.parent.name)
        path.write_bytes(b"x")

    for _ in range(2):
        storage.write_atomically(tmp_path / "x", write)
    assert len(set(seen)) == 2
    assert not _leftovers(tmp_path)


def test_links_are_replaced_by_whole_files_and_refused_by_what_appends(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine\n")
    for name in ("whole", "lines", "log"):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    storage.write_bytes(tmp_path / "whole", b"new")
    with pytest.raises(StorageError, match="symbolic link"):
        storage.append_line(tmp_path / "lines", b"{}")
    with pytest.raises(OSError, match="symbolic links"):
        storage.open_to_append(tmp_path / "log")
    assert (tmp_path / "victim").read_bytes() == b"mine\n"
    assert not (tmp_path / "whole").is_symlink()


def test_a_new_file_is_made_by_one_process_only(tmp_path: Path) -> None:
    assert storage.create_bytes(tmp_path / "new" / "x", b"first")
    assert not storage.create_bytes(tmp_path / "new" / "x", b"second")
    assert (tmp_path / "new" / "x").read_bytes() == b"first"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not storage.create_bytes(tmp_path / "link", b"x")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*a file is where a folder is needed"):
        storage.create_bytes(tmp_path / "file" / "x", b"x")
    assert not _leftovers(tmp_path)


def test_a_new_file_is_made_on_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert storage.create_bytes(tmp_path / "x", b"first")
    assert not storage.create_bytes(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    storage.write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


def test_the_first_write_into_a_folder_deletes_what_killed_writers_left_there(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(path)], timeout=300)
    assert len(_leftovers(tmp_path)) == 1
    storage.write_bytes(tmp_path / "other.bin", b"x")
    assert not _leftovers(tmp_path)


def test_stale_files_of_earlier_versions_are_deleted_and_the_users_stay(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".mask.safetensors.tmp-4711").touch()
    (tmp_path / "inner" / "notes.tmp-1").touch()
    (tmp_path / "inner" / ".tmp-me").touch()
    storage.remove_stale_temporaries(tmp_path)
    assert sorted(file.name for file in (tmp_path / "inner").iterdir()) == [".tmp-me", "notes.tmp-1"]
