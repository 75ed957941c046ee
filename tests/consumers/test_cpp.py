"""The C++ consumer, on this machine and under qemu: it finds what Python finds, and reports how long it took."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from lth_deploy.data.images import read_image
from lth_deploy.measure.consumer import ConsumerReport
from lth_deploy.measure.machine import describe_machine
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from tests.consumers.consumers import Consumer, Export
from tests.cross import run_program
from tests.tiny_artifact import IDS


def consume(consumer: Consumer, *arguments: object, **more: Any) -> str:
    return run_program([*consumer.command, "--runtime", consumer.runtime, *arguments], **more)


def run(consumer: Consumer, export: Export, folder: Path, *arguments: object, **more: Any) -> tuple[Any, Any]:
    """The detections and the report."""
    given = ("--model", export.model, "--images", export.listed, "--detect", folder / "found.json")
    consume(consumer, *given, "--bench", folder / "bench.json", "--seconds", 0.1, *arguments, **more)
    return json.loads((folder / "found.json").read_text()), json.loads((folder / "bench.json").read_text())


def expected(export: Export) -> list[dict[str, Any]]:
    session = onnxruntime.InferenceSession(str(export.model), providers=["CPUExecutionProvider"])
    found = []
    for number in range(1, 5):
        boxes, scores, labels = session.run(
            ["boxes", "scores", "labels"], {"image": read_image(export.images / f"{number}.png")}
        )
        for (x1, y1, x2, y2), score, label in zip(boxes, scores, labels, strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            found.append({"image_id": number, "category_id": IDS[label - 1], "bbox": box, "score": score})
    return found


def hold(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [(one["image_id"], one["category_id"]) for one in found] == [
        (one["image_id"], one["category_id"]) for one in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one["bbox"], other["bbox"], rtol=1e-6)
        assert one["score"] == pytest.approx(float(other["score"]), abs=1e-5)


@pytest.mark.parametrize("with_library", [False, True])
def test_it_finds_what_python_finds(with_library: bool, native: Consumer, export: Export, tmp_path: Path) -> None:
    options = ("--library", native.library) if with_library else ()
    found, bench = run(native, export, tmp_path, "--threads", 2, *options)
    hold(found, expected(export))
    hold(bench["detections"], found)
    ConsumerReport.from_json(json.dumps(bench), "bench")
    assert bench["model"]["sha256"] == hashlib.sha256(export.model.read_bytes()).hexdigest()
    assert bench["model"]["bytes"] == export.model.stat().st_size
    machine = describe_machine()
    assert bench["machine"]["isa"] == machine.isa
    assert bench["machine"]["memory"] == machine.memory
    assert (bench["onnxruntime"], bench["threads"], bench["emulated"]) == (onnxruntime.__version__, 2, False)
    assert bench["library"] == (str(native.library) if with_library else None)
    assert bench["p50_ms"] == pytest.approx(np.percentile(bench["samples_ms"], 50), rel=1e-6)
    assert bench["p90_ms"] == pytest.approx(np.percentile(bench["samples_ms"], 90), rel=1e-6)
    assert min(bench["load_ms"], bench["first_ms"], *bench["samples_ms"]) > 0
    assert 1e6 < bench["base_rss_bytes"] < bench["peak_rss_bytes"] < 1e9


def test_the_library_computes_the_regions(native: Consumer, export: Export, tmp_path: Path) -> None:
    """Only its kernels look at LTH_ISA."""
    run(native, export, tmp_path, LTH_ISA="nonsense")
    found, bench = run(native, export, tmp_path, "--library", native.library, LTH_ISA="portable")
    hold(found, expected(export))
    assert bench["forced_isa"] == "portable"
    given = ("--model", export.model, "--images", export.listed, "--bench", tmp_path / "b")
    said = consume(native, *given, "--library", native.library, fails=True, LTH_ISA="nonsense")
    assert "instruction set 'nonsense' is not available" in said


def test_any_model_with_one_float_input_is_timed(native: Consumer, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    shape = [1, 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(tmp_path / "m.onnx"))
    consume(
        native, "--model", tmp_path / "m.onnx", "--shape", "1,3,20,30", "--bench", tmp_path / "b", "--seconds", 0.01
    )
    assert json.loads((tmp_path / "b").read_text())["detections"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "none.onnx"}, "none.onnx"),
        ({"--runtime": "none.so"}, "cannot load ONNX Runtime"),
        ({"--images": "none.txt"}, "cannot read none.txt"),
        ({"--bench": None}, "--detect or --bench"),
        ({"--images": None}, "either --images LIST or --shape"),
        ({"--color": "red"}, "unknown option --color"),
    ],
)
def test_wrong_arguments_are_named(
    change: dict[str, str | None], message: str, native: Consumer, export: Export, tmp_path: Path
) -> None:
    right = {"--runtime": native.runtime, "--model": export.model, "--images": export.listed}
    given = {**right, "--bench": tmp_path / "b", **change}
    options = [part for option, value in given.items() if value is not None for part in (option, value)]
    assert message in run_program([*native.command, *options], fails=True)


@pytest.mark.parametrize(
    ("bytes_", "message"),
    [
        (b"P5\n2 2\n255\n" + bytes(12), "no binary PPM"),
        (b"P6\n2 2\n255\n" + bytes(11), "cut short"),
        (b"P6\n2 -2\n255\n" + bytes(12), "damaged PPM header"),
        (b"P6\n2 2\n65535\n" + bytes(24), "not 8 bits"),
    ],
)
def test_damaged_images_are_refused(
    bytes_: bytes, message: str, native: Consumer, export: Export, tmp_path: Path
) -> None:
    (tmp_path / "p.ppm").write_bytes(bytes_)
    (tmp_path / "list").write_text("7 p.ppm\n")
    given = ("--model", export.model, "--images", tmp_path / "list", "--detect", tmp_path / "d")
    assert message in consume(native, *given, fails=True)


@pytest.mark.slow
def test_64_bit_arm_under_qemu(arm: Consumer, export: Export, tmp_path: Path) -> None:
    found, bench = run(arm, export, tmp_path, "--library", arm.library)
    hold(found, expected(export))
    assert bench["emulated"] is True
    assert "asimd" in bench["machine"]["isa"]
    assert "qemu" in bench["machine"]["cpu"]
    given = ("--model", export.model, "--images", export.listed, "--detect", tmp_path / "d")
    said = consume(arm, *given, "--library", arm.library, fails=True, LTH_ISA="avx2")
    assert "use one of: neoni8mm, neondot, neon, portable" in said
    options = BenchmarkOptions(
        engines=("onnxruntime",), seconds=0.05, loads=1, bootstrap=10, imports=(tmp_path / "bench.json",)
    )
    results = benchmark([export.model], export.data, export.images, options=options)
    row = results.rows[-1]
    assert (row.name, row.engine, row.latency_ms) == ("ticket", "lth_deploy C API, emulated", None)
    assert row.ap == results.rows[0].ap
    assert row.zero_macs == results.rows[1].zero_macs
