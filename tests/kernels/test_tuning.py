"""What is measured of a processor: it decides blocks and tiles, and no bit of a result."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lth_deploy.errors import UsageError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.in_use import kernels_in_use
from lth_deploy.kernels.program.text import parse
from tests.kernels.region_models import model_of, open_model, random_constants, run_model

EXTREMES = (
    "fma=1",
    "fma=1 single=0 pair=0 int8_single=0 int8_pair=0",
    "fma=1 single=2 pair=2 int8_single=2 int8_pair=2",
    "fma=4 single=0 pair=0 int8_single=0 int8_pair=0",
    "fma=2 single=0.5 pair=0.5 int8_single=0.5 int8_pair=0.5",
    "fma=4 single=2 pair=2 int8_single=2 int8_pair=2",
)
WINDOWS = {
    "3x3": "kernel=3,3 stride=1,1 pads=1,1,1,1",
    "3x3 strided": "kernel=3,3 stride=2,2 pads=1,1,1,1",
    "7x7 strided": "kernel=7,7 stride=2,2 pads=3,3,3,3",
    "1x1": "kernel=1,1 stride=1,1 pads=0,0,0,0",
}
CHANNELS, OUTPUTS, SHAPE = 400, 22, (19, 13)
RELU = "lth_region 1\ninputs 1\nt0 = load 0 channels=1\nt1 = act t0 act=relu\noutput t1\n"

Results = dict[str, tuple[list[np.ndarray], int]]
LayerText = Callable[[str, str], str]


def floats(window: str, block: str) -> str:
    kernel = re.findall(r"kernel=(\d+,\d+)", window)[0]
    return (
        "lth_region 1\ninputs 1\n"
        f"weight bitmask{block} f32 {OUTPUTS},{CHANNELS},{kernel} at 1,2\n"
        f"t0 = load 0 channels={CHANNELS}\n"
        f"t1 = conv t0 w0 - {window} dilation=1,1 groups=1 act=relu\n"
        "output t1\n"
    )


def quantized(window: str, block: str) -> str:
    kernel = re.findall(r"kernel=(\d+,\d+)", window)[0]
    return (
        "lth_region 1\ninputs 1\n"
        f"weight bitmask:{block} s8 {OUTPUTS},{CHANNELS},{kernel} at 1,2\n"
        f"weight dense f32 {OUTPUTS} at 3\n"
        f"t0 = load 0 channels={CHANNELS}\n"
        "t1 = quantize t0 out=u8:0.02:120\n"
        f"t2 = qconv t1 w0 w1 - {window} dilation=1,1 groups=1 act=relu out=u8:0.7:3\n"
        "t3 = dequantize t2\n"
        "output t3\n"
    )


def results(text: str, library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Outputs of a program, and the bytes of its packed weights, with every extreme record."""
    program, rng = parse(text), np.random.default_rng(5)
    model = model_of(program, random_constants(program, rng, 0.8, ":2x1" in text))
    picture = [rng.standard_normal((1, CHANNELS, *SHAPE)).astype(np.float32)]
    found: Results = {}
    for record in EXTREMES:
        profile = folder / f"{len(found)}.jsonl"
        monkeypatch.setenv("LTH_PROFILE", str(profile))
        monkeypatch.setenv("LTH_TUNING", record)
        session = open_model(model, library)
        outputs = run_model(session, picture)
        del session  # a region writes its profile when it goes
        found[record] = outputs, json.loads(profile.read_text())["weight_bytes"]
    return found


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("layer", [(floats, ""), (floats, ":2x1"), (quantized, "1x4"), (quantized, "2x4")])
def test_no_record_changes_a_bit(
    kernels: Path,
    layer: tuple[LayerText, str],
    window: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, block = layer
    found = results(program(window, block), kernels, tmp_path, monkeypatch)
    first = found[EXTREMES[0]][0]
    assert np.abs(first[0]).max() > 0
    for record, (outputs, _) in found.items():
        assert all(np.array_equal(one, other) for one, other in zip(first, outputs, strict=True)), record


@pytest.mark.parametrize("layer", [(floats, ""), (floats, ":2x1"), (quantized, "1x4"), (quantized, "2x4")])
def test_records_decide_blocks_where_two_multiply_adds_start_in_a_cycle(
    instruction_sets: dict[str, Path],
    layer: tuple[LayerText, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More blocks have more counts, so packed weights tell of them; with one multiply-add the constants choose."""
    names = [name for name in ("avx512vnni", "avx512", "avx512 emulated") if name in instruction_sets]
    if not names:
        pytest.skip("this processor has no kernels of 16 lanes")
    monkeypatch.setenv("LTH_ISA", names[0].split()[0])
    program, block = layer
    text = program(WINDOWS["3x3"], block)
    of = [size for _, size in results(text, instruction_sets[names[0]], tmp_path, monkeypatch).values()]
    constants, cheap, costly, no_cost, _, many = of
    assert constants == cheap == costly
    assert no_cost < many


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("nonsense", "'nonsense' is not KEY=VALUE"),
        ("single=0.5", "fma= is missing"),
        ("fma=2 fma=2", "'fma' is given twice"),
        ("fma=2 speed=3", "'speed' is none of processor, isa, fma, single"),
        ("fma=0", "fma=0 is impossible: it lies between 1 and 4"),
        ("fma=1.5", "fma=1.5 is no whole number"),
        ("fma=2 pair=-1", "pair=-1 is no decimal number"),
        ("fma=2 pair=nan", "pair=nan is no decimal number"),
        ("fma=2 pair=", "pair= is no decimal number"),
        ("fma=2 pair=1.2.3", r"pair=1\.2\.3 is no decimal number"),
        ("fma=2 int8_pair=2.1", r"int8_pair=2\.1 is impossible: it lies between 0 and 2"),
        ("fma=2 processor=Elsewhere-1", "it is the tuning of the processor Elsewhere-1, and this is "),
        ("fma=2 isa=sse9", "it is the tuning of the isa sse9, and this is "),
        ("fma=2 " + "x" * 1000, "longer than 1000 characters"),
    ],
)
def test_a_record_that_cannot_be_is_refused_with_the_session(
    record: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTH_TUNING", record)
    with pytest.raises(Exception, match=f"LTH_TUNING: .*{words}") as refused:
        open_model(model_of(parse(RELU), []), ops_library())
    assert "without LTH_TUNING it is measured" in str(refused.value)
    with pytest.raises(UsageError, match=f"no session can use the kernels: LTH_TUNING: .*{words}"):
        kernels_in_use(ops_library())


def test_what_is_measured_is_a_record_that_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LTH_TUNING", raising=False)
    measured = kernels_in_use(ops_library())
    assert measured == kernels_in_use(ops_library())  # measured once
    assert measured
    fields = dict(field.split("=") for field in measured.tuning.split())
    assert fields["isa"] == measured.isa
    assert int(fields["fma"]) in (1, 2)
    if fields["fma"] == "2":
        assert all(0 <= float(fields[name]) <= 1 for name in ("single", "pair", "int8_single", "int8_pair"))
    monkeypatch.setenv("LTH_TUNING", measured.tuning)
    assert kernels_in_use(ops_library()) == measured
    open_model(model_of(parse(RELU), []), ops_library())


def test_many_sessions_at_once_measure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own, in which nothing was measured before."""
    monkeypatch.delenv("LTH_TUNING", raising=False)
    said = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import open_many; open_many()"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert said.returncode == 0, said.stderr
    assert len(set(said.stdout.split("\n")[:-1])) == 1


def open_many() -> None:
    model, library = model_of(parse(RELU), []), ops_library()
    with ThreadPoolExecutor(8) as threads:
        for made in [threads.submit(open_model, model, library) for _ in range(16)]:
            made.result()
        for made in [threads.submit(kernels_in_use, library) for _ in range(16)]:
            print(made.result())
