"""What is run for a script on a board, and what never reaches a shell."""

import subprocess
from pathlib import Path

import pytest

from lth_deploy.boards import remote
from lth_deploy.boards.drivers import AdbDriver, LocalDriver, SshDriver, checked, driver_of, quoted
from lth_deploy.errors import BoardError, LinkLostError, UsageError


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("local", LocalDriver()),
        ("pi", SshDriver("pi")),
        ("pi@raspberrypi.local", SshDriver("pi@raspberrypi.local")),
        ("me@[fe80::1%eth0]", SshDriver("me@[fe80::1%eth0]")),
        ("adb", AdbDriver("adb")),
        ("adb:0123ABC", AdbDriver("adb:0123ABC", "0123ABC")),
        ("adb:192.168.1.7:5555", AdbDriver("adb:192.168.1.7:5555", "192.168.1.7:5555")),
    ],
)
def test_hosts(host: str, kind: object) -> None:
    assert driver_of(host) == kind


@pytest.mark.parametrize(
    "host", ["", "-oProxyCommand=x", "a b", "a;b", "pi@-x", "$(x)", "adb:-s", "a@b@c", "a\nb", "adb:"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        driver_of(host)


@pytest.mark.parametrize("argument", ["", "a b", "a;b", "$(x)", "`x`", "a'b", 'a"b', "a\nb", "a|b", "a&b", "*", "é"])
def test_arguments_of_other_characters_are_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="is not sent to a board"):
        checked(["fine", argument])


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_string_for_a_shell_means_the_script_and_its_arguments(shell: str) -> None:
    script = 'for one; do printf "%s|" "$one" "it\'s"; done'
    command = [shell, "-c", quoted(script, ["a=b", "/c/d-e"])]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert said.stdout == "a=b|it's|/c/d-e|it's|"


def test_scripts_fit_in_the_quotes_of_any_shell() -> None:
    scripts = [value for name, value in vars(remote).items() if name.isupper() and isinstance(value, str)]
    assert len(scripts) >= 5
    for script in scripts:
        quoted(script, [])


def test_a_program_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BoardError, match=r"the program adb is not installed here"):
        AdbDriver("adb").command("true", [])


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adb that keeps its arguments, and runs the command as a device's shell would."""
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nfor one; do printf "%s\\n" "$one"; done >> {tmp_path}/record\n'
        f'[ "$1" = -s ] && shift 2\n[ -f {tmp_path}/gone ] && {{ cat {tmp_path}/gone >&2; exit 1; }}\n'
        'shift 2\nexec sh -c "$*"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin:/usr/sbin")
    return tmp_path


def test_a_device_by_adb(adb: Path) -> None:
    (adb / "file").write_bytes(b"model")
    driver = driver_of("adb:SERIAL")
    assert remote.look(driver).kernel == "Linux"
    digest = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"
    remote.copy(driver, str(adb / "board"), {digest: adb / "file"})
    assert (adb / "board" / digest).read_bytes() == b"model"
    assert (adb / "record").read_text().splitlines()[:4] == ["-s", "SERIAL", "shell", "-T"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("adb: device unauthorized.", "it has not allowed debugging"),
        ("error: device offline", "the device is offline"),
        ("adb: no devices/emulators found", "no device is connected"),
        ("adb: device 'SERIAL' not found", "no such device is connected"),
    ],
)
def test_a_device_that_is_not_there(said: str, words: str, adb: Path) -> None:
    (adb / "gone").write_text(said)
    with pytest.raises(LinkLostError, match=words):
        remote.look(driver_of("adb:SERIAL"))
