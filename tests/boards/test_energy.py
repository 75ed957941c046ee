"""Which counters stand for a board, and a command that prints watts: what it says, and every way in which it fails."""

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from lth_deploy.boards.conditions import Conditions, EnergyCounter
from lth_deploy.boards.energy import choose_meter, joules_between, why_unreadable
from lth_deploy.boards.power_command import PowerCommand, parse_power_command, watts_of
from lth_deploy.errors import BoardError, UsageError
from tests.waiting import SECONDS, wait_until

NUMBERS = 4
"""More than a mean needs."""

ORIN = {"VDD_IN": 6.0, "VDD_CPU_GPU_CV": 2.0, "VDD_SOC": 1.5}


def rails(**watts: float) -> list[EnergyCounter]:
    return [EnergyCounter(source="ina3221", name=name, microjoules=int(value * 1e6)) for name, value in watts.items()]


def rapl(**joules: float) -> list[EnergyCounter]:
    names = {name.replace("_", "-").replace("--", "/"): value for name, value in joules.items()}
    return [
        EnergyCounter(name=name, microjoules=int(value * 1e6), part="/" in name, range=2**40)
        for name, value in names.items()
    ]


@pytest.mark.parametrize(
    ("counters", "labels", "joules"),
    [
        (rails(**ORIN), ("ina3221 VDD_IN",), 6.0),
        (rails(VDD_CPU=3.0, POM_5V_IN=4.0, POM_5V_GPU=1.0), ("ina3221 POM_5V_IN",), 4.0),
        (rails(VDD_GPU_SOC=3.0, VIN_SYS_5V0=4.0), ("ina3221 VIN_SYS_5V0",), 4.0),
        (rapl(package_0=2.0, package_0__core=1.5), ("rapl package-0",), 2.0),
        (rapl(package_0=2.0, package_1=3.0, package_1__dram=1.0), ("rapl package-0", "rapl package-1"), 5.0),
        (rapl(package_0=2.0, psys=5.0), ("rapl psys",), 5.0),
        (rapl(package_0=2.0, psys=0.0), ("rapl package-0",), 2.0),
        (rails(VDD_IN=6.0) + rapl(package_0=2.0), ("ina3221 VDD_IN",), 6.0),
    ],
)
def test_counters_that_contain_each_other_are_never_added(
    counters: list[EnergyCounter], labels: tuple[str, ...], joules: float
) -> None:
    zero = [counter.model_copy(update={"microjoules": 0}) for counter in counters]
    counted = joules_between(Conditions(seconds=0, energy=zero), Conditions(seconds=1, energy=counters))
    meter = choose_meter(counters, counted)
    assert meter is not None
    assert meter.labels == labels
    assert meter.joules(counted) == pytest.approx(joules)
    assert bool(meter.note) == ("VIN_SYS_5V0" in labels[0]), "a rail that is only the largest is a guess"
    assert meter.joules({label: 1.0 for label in counted if label != labels[0]}) is None


def test_counters_that_nobody_may_read_are_one_sentence() -> None:
    counters = [EnergyCounter(name="package-0"), EnergyCounter(name="package-0/core", part=True)]
    moment = Conditions(seconds=0, energy=counters)
    assert joules_between(moment, moment) == {}
    assert choose_meter(counters, {}) is None
    assert "RAPL is for root only" in why_unreadable(counters)
    assert "root" not in why_unreadable([EnergyCounter(source="ina3221", name="VDD_IN")])
    assert why_unreadable([]) == ""


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.mark.parametrize("script", ["while :; do echo 5.5; sleep 0.02; done", "echo; echo 5.5 W"])
def test_a_command_prints_on_and_on_or_once(script: str) -> None:
    with PowerCommand(shell(script), silence=SECONDS, pause=0.02) as command:
        begin = time.monotonic()
        command.wait(NUMBERS)
        assert command.watts(begin, time.monotonic()) == pytest.approx(5.5)
        with pytest.raises(BoardError, match=r"energy is left out: .* 0 numbers in 0 s"):
            command.watts(begin, begin)


@pytest.mark.parametrize(
    ("script", "silence", "message"),
    [
        ("echo on fire", SECONDS, "prints 'on fire', which is no number"),
        ("echo nan", SECONDS, "prints 'nan'"),
        ("echo 4; exit 3", SECONDS, "has ended with status 3"),
        ("true", SECONDS, "has ended and printed no number"),
        ("kill -9 $$", SECONDS, "has ended with status -9"),
        ("exec sleep 600", 0.3, r"has printed no number for 0\.3 s"),
        ("echo 4; exec sleep 600", 0.3, r"has printed no number for 0\.3 s"),
        ("yes | tr -d '\\n'", SECONDS, "prints 'yy"),
    ],
)
def test_a_command_that_fails_is_one_sentence(script: str, silence: float, message: str) -> None:
    with (
        PowerCommand(shell(script), silence=silence, pause=0.02) as command,
        pytest.raises(BoardError, match=f"energy is left out: --power-command /bin/sh {message}"),
    ):
        command.wait(NUMBERS)


@pytest.mark.parametrize("end", ["wait", "exit 0"])
def test_a_command_leaves_no_process_behind(end: str, tmp_path: Path) -> None:
    """Also where the command itself has ended, and what it has started goes on."""
    sign = tmp_path / "alive"
    script = f"(while :; do echo 5; date > {shlex.quote(str(sign))}; sleep 0.05; done) & {end}"
    with PowerCommand(shell(script), silence=SECONDS) as command:
        command.wait(NUMBERS)
        wait_until(sign.exists, "the first date")
    time.sleep(0.2)  # for what had been begun when the signal came
    sign.unlink()
    time.sleep(0.3)
    assert not sign.exists()


@pytest.mark.parametrize(("script", "patience"), [("", SECONDS), ("trap '' PIPE; ", 1.0)])
def test_a_command_of_another_user_ends_with_its_output(
    script: str, patience: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What runs as root, as with sudo, cannot be ended from here: it ends once nobody reads what it prints."""

    def refuse(group: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    real, stays = os.killpg, bool(script)
    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr("lth_deploy.boards.power_command._PATIENCE", patience)
    with PowerCommand(shell(f"{script}while :; do echo 5; sleep 0.05; done"), silence=SECONDS) as command:
        command.wait(NUMBERS)
        process = command._process
        assert process is not None
    try:
        assert (process.poll() is None) == stays
        assert ("end it by hand" in caplog.text) == stays
    finally:
        if stays:
            real(process.pid, signal.SIGKILL)
            process.wait(SECONDS)


def test_no_shell_sees_the_command(tmp_path: Path) -> None:
    words = parse_power_command(f"{shlex.quote(sys.executable)} -c 'print(7)' '; touch {tmp_path / 'x'}'")
    with PowerCommand(words, silence=SECONDS, pause=0.02) as command:
        command.wait(NUMBERS)
    assert words[-1].startswith("; touch")
    assert not list(tmp_path.iterdir())
    for wrong in ("", "'5", "no-such-program 5"):
        with pytest.raises(UsageError, match="--power-command"):
            parse_power_command(wrong)


def test_what_counts_as_watts() -> None:
    found = {text: watts_of(text) for text in ("5", "5.25 W", "5.25W", "0", "-1", "inf", "1e9", "5 V", "")}
    assert [text for text, watts in found.items() if watts is None] == ["-1", "inf", "1e9", "5 V", ""]
    assert found["5.25 W"] == 5.25
