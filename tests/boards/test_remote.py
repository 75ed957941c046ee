"""Files on a board: kept under their digest, checked, resumed, and removed without a trace of what is not ours."""

import hashlib
import os
from pathlib import Path

import pytest

from lth_deploy.boards import remote
from lth_deploy.boards.drivers import Driver, LocalDriver, SshDriver
from lth_deploy.errors import BoardError, LinkLostError
from tests.boards.loopback import Loopback


@pytest.fixture(params=["local", "ssh"])
def driver(request: pytest.FixtureRequest) -> Driver:
    if request.param == "local":
        return LocalDriver()
    return SshDriver(request.getfixturevalue("ssh").host)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for number in range(3):
        data = bytes([number]) * 300_000
        (tmp_path / f"{number}.bin").write_bytes(data)
        found[hashlib.sha256(data).hexdigest()] = tmp_path / f"{number}.bin"
    return found


def test_files_are_kept_checked_and_removed(driver: Driver, files: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "board" / "files"
    found = remote.copy(driver, str(folder), files)
    assert found.path == str(folder.resolve())
    assert found.free
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        digest: path.read_bytes() for digest, path in files.items()
    }
    assert folder.stat().st_mode & 0o077 == 0, "others on the board cannot change what runs there"
    first = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    damaged = folder / min(first)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    remote.copy(driver, str(folder), files)
    again = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert {name for name in again if again[name] != first[name]} == {damaged.name}
    (folder / "notes.txt").write_text("of the user")
    remote.remove(driver, str(folder))
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    remote.copy(driver, str(folder), files)
    remote.remove(driver, str(folder))
    assert not folder.exists()
    remote.remove(driver, str(folder))


def test_a_copy_that_was_cut_off_goes_on(files: dict[str, Path], tmp_path: Path) -> None:
    """The part that is there is not sent again: here it cannot even be read any more."""
    folder = tmp_path / "board"
    folder.mkdir()
    (digest, path), *_ = files.items()
    data = path.read_bytes()
    (folder / f"{digest}.part").write_bytes(data[:200_000])
    path.write_bytes(bytes(200_000).replace(b"\0", b"\7") + data[200_000:])
    remote.copy(LocalDriver(), str(folder), {digest: path})
    assert (folder / digest).read_bytes() == data
    assert [file.name for file in folder.iterdir()] == [digest]


def test_a_link_that_is_cut_while_copying(
    files: dict[str, Path], ssh: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, real = [], remote._run

    def cut(driver: Driver, script: str, *more: object) -> str:
        if script == remote._APPEND and len(cuts) < 2:
            cuts.append(script)
            script = 'cd -- "$1" && head -c 1000 >> "$2.part" && kill -9 $PPID && sleep 5'
        return real(driver, script, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "_run", cut)
    monkeypatch.setattr(remote, "_RETRY_SECONDS", (0.0, 0.0))
    folder = tmp_path / "board"
    remote.copy(SshDriver(ssh.host), str(folder), files)
    assert len(cuts) == 2
    assert {file.name for file in folder.iterdir()} == set(files)


def test_a_file_that_changes_on_its_way_is_never_kept(files: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "board"
    (digest, path), *_ = files.items()
    path.write_bytes(b"another file")
    with pytest.raises(BoardError, match=f"{path.name} arrived damaged twice"):
        remote.copy(LocalDriver(), str(folder), {digest: path})
    assert list(folder.iterdir()) == []


def test_a_disk_without_space_is_noticed_before(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "df").write_text(
        "#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
        "echo '/dev/root 1000 900 100 90% /'\n"
    )
    (tmp_path / "df").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BoardError, match=r"has 0 MB free in .*, 1 MB are needed; free some space or choose --board"):
        remote.copy(LocalDriver(), str(tmp_path / "board"), files)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full_in_the_end_leaves_no_file(files: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "board"
    folder.mkdir()
    (digest, path), *_ = files.items()
    (folder / f"{digest}.part").symlink_to("/dev/full")
    with pytest.raises(BoardError, match=r"No space left on device; its disk is full; free some space"):
        remote._run(LocalDriver(), remote._APPEND, [str(folder), digest], "copying a file", path.open("rb"))


def test_a_folder_that_cannot_be_made(files: dict[str, Path]) -> None:
    with pytest.raises(BoardError, match=r"local: making its folder /proc/board failed: .*/proc/board"):
        remote.copy(LocalDriver(), "/proc/board", files)


def test_what_a_board_is(driver: Driver) -> None:
    system = remote.look(driver)
    assert (system.kernel, system.processor, system.bits) == ("Linux", os.uname().machine, "64")
    assert system.glibc is not None
    assert system.glibc > (2, 16)


def test_a_wrong_host_key_is_one_sentence(ssh: Loopback) -> None:
    known = ssh.folder / "known_hosts"
    right = known.read_text()
    try:
        known.write_text("")
        with pytest.raises(LinkLostError, match="its host key is not known here; log in once by hand"):
            remote.look(SshDriver(ssh.host))
        address, kind, _ = right.split()
        other = (ssh.folder / "user.pub").read_text().split()[1]
        known.write_text(f"{address} {kind} {other}\n")
        with pytest.raises(LinkLostError, match="its host key is another one than before; if that is right, remove"):
            remote.look(SshDriver(ssh.host))
    finally:
        known.write_text(right)


def test_a_host_that_does_not_exist(ssh: Loopback) -> None:
    with pytest.raises(LinkLostError, match="no machine of this name is known"):
        remote.look(SshDriver("x" * 64))  # longer than a name can be, so that no server is asked for it
    with (ssh.folder / "ssh_config").open("a") as file:
        file.write("Host deaf\n  HostName 127.0.0.1\n  Port 1\n")
    with pytest.raises(LinkLostError, match="nothing listens there for ssh"):
        remote.look(SshDriver("deaf"))
