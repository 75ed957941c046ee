"""The consumer that serves a host: under sanitizers, on a fake system, and with requests from nobody's host."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lth_deploy.boards.board import PROTOCOL
from lth_deploy.boards.bundle import Bundle
from lth_deploy.boards.conditions import Conditions, choose_cores, throttled_between
from lth_deploy.boards.energy import choose_meter, joules_between
from lth_deploy.boards.link import Link
from lth_deploy.boards.replies import Hello, Moment, Ran
from lth_deploy.boards.tensors import element_type, read_outputs
from lth_deploy.errors import BoardError, LinkLostError, UsageError
from tests.boards.conftest import Start
from tests.boards.fake_system import CPU, FakeSystem
from tests.boards.requests import fed, opened
from tests.waiting import has_ended, killed_at_the_end, wait_until

TYPES = {"image": "float32", "a name, with é": "uint8", "counts": "int64", "flags": "bool", "one": "float64"}


def identities() -> onnx.ModelProto:
    """A model that returns each of its inputs twice, one of any type and shape."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for name, kind in TYPES.items()}
    nodes = [helper.make_node("Identity", [name], [f"{name} again"]) for name in kinds]
    inputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info(f"{name} again", kind, None) for name, kind in kinds.items()]
    graph = helper.make_graph(nodes, "identities", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_tensors_of_every_kind_come_back_as_they_went(start: Start, programs: Bundle, tmp_path: Path) -> None:
    onnx.save(identities(), str(tmp_path / "m.onnx"))
    link = start()
    opened(link, "0", tmp_path / "m.onnx", programs)
    generator = np.random.default_rng(0)
    for shape in [(1, 3, 5, 7), (), (0, 4), (300_000,)]:
        values = {name: (generator.normal(0, 50, shape) * np.ones(shape)).astype(kind) for name, kind in TYPES.items()}
        fed(link, "s", values)
        reply, data = link.ask(["run", "0", "s"], seconds=300)
        outputs = read_outputs(Ran.model_validate(reply).outputs, data, "local")
        assert {name: value.shape for name, value in outputs.items()} == {f"{name} again": shape for name in TYPES}
        for name, value in values.items():
            np.testing.assert_array_equal(outputs[f"{name} again"], value, strict=True)
        block, _ = link.ask(["block", "0", "s", "1", "5"], seconds=300)
        assert block["samples_ms"]
        assert min(block["samples_ms"]) > 0
    windows, _ = link.ask(["sustain", "0", "300", "100", "s", "s"], seconds=300)
    assert 2 <= len(windows["windows"]) <= 4
    link.ask(["forget", "s"], seconds=300)
    link.ask(["close", "0"], seconds=300)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dance"], "unknown request dance"),
        (["run", "0", "s"], "no session 0 is open"),
        (["run", "1", "none"], "slot none has no inputs"),
        (["run", "1", "wrong"], "ONNX Runtime: .*"),
        (["open", "0", "onnxruntime", "1", "/none.onnx"], "ONNX Runtime: .*none.onnx"),
        (["open", "0", "onnxruntime", "0", "/none.onnx"], "a number of a request is wrong: 0"),
        (["open", "0", "onnxruntime", "1", "/none.onnx", "color", "red"], "open knows no color"),
        (["open", "0", "onnxruntime", "1", "/none.onnx", "input", "x"], "open has no value for input"),
        (["open", "0", "onnxruntime", "1", "/none.onnx", "output", "x", "y"], "a number of a request is wrong: y"),
        (["open", "0", "ncnn", "1", "/none.onnx"], "no engine ncnn is loaded"),
        (["open", "0"], "open needs SESSION ENGINE THREADS MODEL"),
        (["engine", "ncnn"], "engine needs NAME LIBRARY"),
        (["engine", "tvm", "libtvm.so"], "unknown engine tvm"),
        (["engine", "ncnn", "/none.so", "libnone.so.1"], "cannot load ncnn: /none.so: .*; libnone.so.1: "),
        (["engine", "openvino", "libm.so.6"], "libm.so.6 has no ov_get_openvino_version: it is not OpenVINO"),
        (["block", "1", "s", "x", "5"], "a number of a request is wrong: x"),
        (["sustain", "1", "1", "1"], "sustain needs SESSION"),
        (["pin", "5000"], "a number of a request is wrong: 5000"),
        (["pin"], "the cores cannot be chosen"),
    ],
)
def test_a_wrong_request_is_an_error_and_not_the_end(
    words: list[str], message: str, start: Start, programs: Bundle, tmp_path: Path
) -> None:
    onnx.save(identities(), str(tmp_path / "m.onnx"))
    link = start()
    opened(link, "1", tmp_path / "m.onnx", programs)
    fed(link, "wrong", {"image": np.zeros(3, np.float32)})
    fed(link, "s", {name: np.zeros(2, kind) for name, kind in TYPES.items()})
    with pytest.raises(BoardError, match=message):
        link.ask(words, seconds=300)
    assert link.ask(["run", "1", "s"], seconds=300)[1]


@pytest.mark.parametrize(
    "sent",
    [
        b"feed s x 1 -1x3\n",
        b"feed s x 1 99999x99999x9\n",
        b"feed s x 1 1073741824\n",
        b"feed s x 8 3\n",
        b"feed s x 1 \n",
        b"feed s x%G1 1 3\n",
        b"feed s x%4",
        b"feed s x 1 4\n123",
        b"hello%0\n",
        b"x" * 70_000 + b"\n",
        b"hello\n" * 50,
        b"\n\n \n\xff\x00\n",
        b"",
    ],
)
def test_nonsense_ends_the_consumer_in_order(sent: bytes, sanitized: Path) -> None:
    command = [str(sanitized), "serve"]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=300, check=False)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert b"Sanitizer" not in done.stderr


def test_it_ends_with_its_input_and_after_silence(
    start: Start, sanitized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lth_deploy.boards.link.PING_SECONDS", 0.3)  # a busy machine takes longer to start it
    command = [str(sanitized), "serve"]
    with killed_at_the_end(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(300) == 0
    link = start("--silence", 3)
    assert link.ask(["hello"], seconds=300)[0]["protocol"] == PROTOCOL
    wait_until(lambda: has_ended(link._process.pid), "the end of a consumer that hears nothing")
    with pytest.raises(LinkLostError, match="silent for too long"):
        link.ask(["hello"], seconds=300)


def test_a_waiting_host_is_not_silent(
    start: Start, programs: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lth_deploy.boards.link.PING_SECONDS", 0.3)
    onnx.save(identities(), str(tmp_path / "m.onnx"))
    link = start("--silence", 3)
    opened(link, "0", tmp_path / "m.onnx", programs)
    fed(link, "s", {name: np.zeros(2, kind) for name, kind in TYPES.items()})
    assert link.ask(["block", "0", "s", "0", "5000"], seconds=300)[0]["samples_ms"]


def test_what_a_board_says_of_itself(start: Start, tmp_path: Path) -> None:
    fake = FakeSystem(tmp_path)
    link = start("--root", tmp_path)
    hello = Hello.model_validate(link.ask(["hello"], seconds=300)[0])
    assert hello.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert [(core.id, core.capacity) for core in hello.cores] == [(0, 446), (1, 446), (2, 446), (3, 446), (4, 1024)]
    assert (hello.cores[4].least_khz, hello.cores[4].largest_khz) == (600_000, 2_400_000)
    assert link.ask(["memory"], seconds=300)[0]["peak_rss_bytes"] > 1e6
    assert choose_cores(hello.cores, "big", 1) == (4,)
    assert choose_cores(hello.cores, "little", 3) == (1, 2, 3)
    assert choose_cores(hello.cores, "all", 3) == ()
    with pytest.raises(UsageError, match="--cores big has 1 cores"):
        choose_cores(hello.cores, "big", 2)
    before = moment(link)
    assert [core.khz for core in before.cores] == [1_500_000] * 4 + [2_400_000]
    assert [(zone.name, zone.celsius) for zone in before.zones] == [("cpu-thermal", 48.312), ("gpu", -5.0)]
    assert before.throttling.model_dump() == {"bits": 0x50000, "events": None, "steps": None}
    assert not before.is_throttled, "the bits of the past do not count"
    assert before.hottest == 48.312
    assert [(counter.label, counter.part) for counter in before.energy] == [
        ("rapl package-0", False),
        ("rapl package-0/core", True),
    ]
    fake.write("sys/class/powercap/intel-rapl:0/energy_uj", 1_999_150)
    assert joules_between(before, moment(link)) == {
        "rapl package-0": pytest.approx(2.0),
        "rapl package-0/core": pytest.approx(0.0),
    }
    fake.write(f"{CPU}/cpu4/online", 0)
    assert [core.id for core in moment(link).cores] == [0, 1, 2, 3]


def test_throttling_is_seen_in_every_way(start: Start, tmp_path: Path) -> None:
    fake = FakeSystem(tmp_path)
    link = start("--root", tmp_path)
    calm = moment(link)
    assert not throttled_between(calm, calm)
    fake.vcgencmd("echo throttled=0x50004")
    assert throttled_between(calm, moment(link))
    fake.vcgencmd("echo throttled=0xd0000")
    assert throttled_between(calm, moment(link)), "it happened between them"
    fake.vcgencmd("echo throttled=0x50000")
    for core, count in ((0, 3), (1, 4)):
        fake.write(f"{CPU}/cpu{core}/thermal_throttle/core_throttle_count", count)
    counted = moment(link)
    assert counted.throttling.events == 7
    assert not throttled_between(counted, counted)
    fake.write(f"{CPU}/cpu1/thermal_throttle/package_throttle_count", 1)
    assert throttled_between(counted, moment(link))
    fake.write("sys/class/thermal/cooling_device1/type", "thermal-cpufreq-0")
    fake.write("sys/class/thermal/cooling_device1/cur_state", 2)
    assert moment(link).throttling.steps == 2
    assert moment(link).is_throttled


def test_power_of_rails_is_summed_over_time(start: Start, tmp_path: Path) -> None:
    fake = FakeSystem(tmp_path)
    fake.rails("hwmon3", VDD_IN=(5000, 1200), VDD_CPU_GPU_CV=(5000, 400), VDD_SOC=(5000, 300))
    fake.write("sys/class/hwmon/hwmon3/in3_enable", 0)
    fake.write("sys/class/hwmon/hwmon3/in7_label", "sum of shunt voltages")
    fake.rails("hwmon4", chip="cpu_fan", FAN=(12000, 10))
    link = start("--root", tmp_path)
    asked, before, answered = time.monotonic(), moment(link), time.monotonic()
    time.sleep(0.4)
    asked_again, after, answered_again = time.monotonic(), moment(link), time.monotonic()
    counted = joules_between(before, after)
    assert {label for label in counted if "ina" in label} == {"ina3221 VDD_IN", "ina3221 VDD_CPU_GPU_CV"}
    # A counter is read at some time between a question and its answer, which a busy machine delays.
    for label, watts in (("ina3221 VDD_IN", 6.0), ("ina3221 VDD_CPU_GPU_CV", 2.0)):
        least, most = watts * (asked_again - answered), watts * (answered_again - asked)
        assert least - 1e-5 <= counted[label] <= most + 1e-5
    meter = choose_meter(after.energy, counted)
    assert meter is not None
    assert meter.labels == ("ina3221 VDD_IN",)
    fake.write("sys/class/hwmon/hwmon3/curr1_input", "")
    gone = moment(link)
    assert meter.joules(joules_between(after, gone)) is None
    fake.write("sys/class/hwmon/hwmon3/curr1_input", 1200)
    assert meter.joules(joules_between(gone, moment(link))) is None, "there is a gap"


@pytest.mark.parametrize(
    "script", ["exit 1", "echo nonsense", "echo throttled=x", "exec sleep 600", "yes", "kill -9 $$"]
)
def test_a_vcgencmd_that_fails_says_nothing(script: str, start: Start, tmp_path: Path) -> None:
    FakeSystem(tmp_path).vcgencmd(script)
    link = start("--root", tmp_path)
    assert moment(link).throttling.bits is None


def test_a_board_without_any_of_it(start: Start, tmp_path: Path) -> None:
    link = start("--root", tmp_path / "empty")
    hello = Hello.model_validate(link.ask(["hello"], seconds=300)[0])
    assert (hello.board, hello.cores) == ("", ())
    assert choose_cores(hello.cores, "big", 2) == ()
    now = moment(link)
    assert (now.cores, now.zones, now.energy, now.hottest) == ((), (), (), None)
    assert not throttled_between(now, now)
    assert joules_between(now, now) == {}


def test_sessions_run_on_the_cores_that_were_chosen(start: Start) -> None:
    link = start()
    core = max(os.sched_getaffinity(0))
    link.ask(["pin", str(core)], seconds=300)
    assert os.sched_getaffinity(link._process.pid) == {core}


def moment(link: Link) -> Conditions:
    return Moment.model_validate(link.ask(["conditions"], seconds=300)[0]).conditions


def test_the_type_numbers_are_those_of_onnx() -> None:
    for name in ("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16", "float64"):
        assert element_type(name) == helper.np_dtype_to_tensor_dtype(np.dtype(name))
    assert element_type("uint64") == TensorProto.UINT64
    with pytest.raises(BoardError, match="complex64"):
        element_type("complex64")
