"""Bytes, memory of fresh processes, and the description of the machine."""

import sys
from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import ArtifactError
from lth_deploy.measure.machine import Machine, describe_machine
from lth_deploy.measure.memory import FreshProcess, measure_fresh, measure_here, peak_rss_bytes
from lth_deploy.measure.size import coo_bytes, file_bytes, zstd_bytes


def test_coo_pays_an_int64_for_every_value() -> None:
    assert coo_bytes((4, 4), 3) == 3 * 12
    with pytest.raises(ValueError, match="do not fit"):
        coo_bytes((2, 2), 5)


def test_zstd_finds_zeros_and_not_noise(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(50_000)
    assert zstd_bytes(bytes(50_000)) < 100
    assert zstd_bytes(noise) > 49_000
    (tmp_path / "noise").write_bytes(noise)
    assert file_bytes(tmp_path / "noise") == (50_000, zstd_bytes(noise))


def script(body: str) -> list[str]:
    return [sys.executable, "-c", f"from lth_deploy.measure import memory as m\n{body}"]


def test_a_fresh_process_does_not_inherit_its_parents_peak() -> None:
    hog = np.ones(60_000_000, np.uint8)
    here = peak_rss_bytes()
    fresh = measure_fresh(script("m.print_measurement(m.measure_here(lambda: lambda: None))"))
    assert hog[0] == 1
    assert fresh.peak_rss_bytes < here - 30_000_000


def test_memory_of_loading_is_seen_even_after_it_is_freed() -> None:
    body = (
        "def load():\n  bytearray(b'x') * 80_000_000\n  return lambda: None\nm.print_measurement(m.measure_here(load))"
    )
    fresh = measure_fresh(script(body))
    assert fresh.peak_rss_bytes - fresh.base_rss_bytes > 70_000_000


def test_load_and_first_inference_are_timed_apart() -> None:
    body = (
        "import time\ndef load():\n  time.sleep(0.5)\n  calls = []\n"
        "  return lambda: (time.sleep(0 if calls else 0.03), calls.append(1))\n"
        "m.print_measurement(m.measure_here(load))"
    )
    fresh = measure_fresh(script(body))
    assert fresh.load_ms >= 500
    assert 30 <= fresh.first_ms < fresh.load_ms


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise SystemExit('out of luck')", "out of luck"),
        ("print('hello')", "hello"),
        ("pass", "no measurement"),
    ],
)
def test_failures_of_the_process_are_reported_with_its_last_words(body: str, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        measure_fresh(script(body))


def test_a_hanging_process_is_ended() -> None:
    with pytest.raises(ArtifactError, match="more than 0 s"):
        measure_fresh([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.2)


def test_measure_here_runs_what_it_is_asked_to_run() -> None:
    calls: list[int] = []
    measured = measure_here(lambda: lambda: calls.append(1), runs=4)
    assert len(calls) == 4
    assert isinstance(measured, FreshProcess)


def test_machine_names_its_cpu_and_only_known_instruction_sets(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor: 0\nmodel name\t: Made Up 9000\nflags\t\t: fpu avx2 avx512_vnni hle\n")
    machine = describe_machine(info)
    assert machine.cpu == "Made Up 9000"
    assert machine.isa == ["avx2", "avx512_vnni"]
    assert machine.exact_u8s8
    assert machine.cores >= 1
    assert Machine.model_validate_json(machine.model_dump_json()) == machine
    info.write_text("processor: 0\nFeatures\t: fp asimd asimddp\n")
    assert describe_machine(info).isa == ["asimd", "asimddp"]


def test_designs_that_share_a_name_have_families(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    found = []
    for family in (25, 26):
        info.write_text(f"processor: 0\nvendor_id\t: Maker\ncpu family\t: {family}\nmodel name\t: Made Up 9000\n")
        found.append(describe_machine(info).family)
    assert found == ["Maker 25", "Maker 26"]
    info.write_text("processor: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n")
    assert describe_machine(info).family == "0x41 0xd0b"
    assert describe_machine(tmp_path / "none").family == ""
