"""The benchmark: every row beside its baseline, nothing timed that computes something else."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from
from lth_deploy.errors import ArtifactError, DataError, ParityError, UsageError
from lth_deploy.measure.memory import FreshProcess
from lth_deploy.measure.results import BenchmarkResults, Row
from lth_deploy.measure.table import table_rows
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.artifact import count_regions, read_model_file
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.candidates import Candidate, collect_candidates
from lth_deploy.workflow.benchmark.check_outputs import check_outputs
from lth_deploy.workflow.benchmark.fresh_process import LoadSettings, measure_load
from lth_deploy.workflow.benchmark.measure_round import Accuracy, best_dense_engine
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.benchmark.peers import peer_candidates
from lth_deploy.workflow.report import report
from tests.tiny_artifact import CLASSES, IDS, save_data, save_decoder, save_tiny, tiny_model

QUICK = BenchmarkOptions(engines=("onnxruntime",), seconds=0.05, loads=1, bootstrap=20)


def save_packed(path: Path, zeros: float = 0.8, seed: int = 0) -> Path:
    packed, reports = pack(normalize(tiny_model(seed, zeros)), values="fp16")
    assert any(report.reason is None for report in reports)
    classes = [ClassName(id=number, name=name) for number, name in zip(IDS, CLASSES, strict=True)]
    write_metadata(packed, ArtifactMetadata(decoder="lth", classes=classes, values="fp16"))
    save_model(packed, path)
    return path


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting fresh processes takes a second each; one test does it for all."""
    measured = FreshProcess(load_ms=3.0, first_ms=2.0, base_rss_bytes=1, peak_rss_bytes=2)
    monkeypatch.setattr("lth_deploy.workflow.benchmark.measure_round.measure_load", lambda *_: measured)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_data(tmp_path)
    return tmp_path


def run(folder: Path, artifacts: list[Path], options: BenchmarkOptions = QUICK, **more: Path) -> BenchmarkResults:
    return benchmark(artifacts, folder / "annotations.json", folder / "images", options=options, **more)


def by_name(results: BenchmarkResults) -> dict[str, Row]:
    return {row.name: row for row in results.rows}


def test_packed_artifact_beside_its_dense_control_and_int8(folder: Path) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    save_tiny(folder / "dense.onnx")
    artifact = save_packed(folder / "ticket.onnx")
    results = run(folder, [artifact], replace(QUICK, loads=2, int8=True))
    rows = by_name(results)
    assert [(row.name, row.kind) for row in results.rows] == [
        ("dense", "dense"),
        ("ticket", "packed"),
        ("dense int8", "int8"),
    ]
    dense, ticket, int8 = rows.values()
    assert ticket.bytes == artifact.stat().st_size
    assert ticket.zero_weights == pytest.approx(0.79, abs=0.01)
    assert ticket.zero_macs == pytest.approx(0.8, abs=0.01)
    assert dense.zero_weights == 0.0
    assert dense.ratio_to_baseline is None
    assert int8.bytes < dense.bytes
    for row in results.rows:
        assert row.ap is not None
        assert row.ap["bbox"]["AP"] == pytest.approx(1.0)
        assert row.latency_ms is not None
        assert sum(row.latency_ms.blocks) == row.latency_ms.n == len(row.latency_ms.samples)
        assert len(row.load_ms) == 2
        assert row.peak_rss_bytes is not None
        assert row.peak_rss_bytes >= (row.base_rss_bytes or 0) > 0
        assert row.entropy_bytes is not None
        assert row.entropy_bytes <= (row.bytes_coo or 0)
    for row in (ticket, int8):
        assert row.ratio_to_baseline is not None
        assert row.ratio_to_baseline.low <= row.ratio_to_baseline.median <= row.ratio_to_baseline.high
        assert row.ap_difference is not None
        assert row.ap_difference["bbox"].mean == 0.0
    assert len({len(row.latency_ms.blocks) for row in results.rows if row.latency_ms}) == 1


@pytest.mark.usefixtures("no_processes")
def test_parts_account_for_every_byte(folder: Path) -> None:
    rows = by_name(run(folder, [save_packed(folder / "ticket.onnx")]))
    for row in rows.values():
        assert row.parts is not None
        assert row.parts.values + row.parts.positions + row.parts.dense + row.parts.other == row.bytes
    parts = rows["ticket"].parts
    assert parts is not None
    assert min(parts.values, parts.positions) > 0


@pytest.mark.usefixtures("no_processes")
def test_without_a_dense_file_the_twin_of_the_artifact_is_the_baseline(folder: Path) -> None:
    results = run(folder, [save_packed(folder / "ticket.onnx")])
    base, ticket = results.rows
    assert base.name == "ticket-dense"
    assert base.zero_weights == ticket.zero_weights
    assert "own weights" in base.notes[0]


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.usefixtures("no_processes")
def test_engines_and_threads_make_rows_and_openvino_gets_the_twin(folder: Path) -> None:
    options = replace(QUICK, engines=("onnxruntime", "openvino"), threads=(1, 2))
    results = run(folder, [save_packed(folder / "ticket.onnx")], options)
    seen = [(row.name, row.engine, row.threads) for row in results.rows]
    assert seen[:4] == [
        (name, engine, 1) for name in ("ticket-dense", "ticket") for engine in ("onnxruntime", "openvino")
    ]
    assert [row[:2] for row in seen[4:]] == [row[:2] for row in seen[:4]]
    assert {row[2] for row in seen[4:]} == {2}
    twin = results.rows[3]
    assert twin.bytes == results.rows[2].bytes
    assert "ran the dense twin" in twin.notes[0]
    assert all(row.ap and row.ap["bbox"]["AP"] == pytest.approx(1.0) for row in results.rows)


@pytest.mark.usefixtures("no_processes")
def test_rows_of_foreign_files_and_a_given_baseline(folder: Path) -> None:
    base = save_tiny(folder / "base.onnx")
    other = save_tiny(folder / "other.onnx", shift=5.0)
    decoder = save_decoder(folder)
    results = run(folder, [other], replace(QUICK, decoder=decoder), baseline=base)
    rows = by_name(results)
    assert rows["other"].kind == "foreign"
    assert rows["other"].ap_difference is not None
    assert rows["other"].ap_difference["bbox"].high < 0.0


@pytest.mark.usefixtures("no_processes")
def test_imported_rows_are_appended_with_their_origin(folder: Path) -> None:
    artifact = save_packed(folder / "ticket.onnx")
    first = run(folder, [artifact])
    (folder / "board.json").write_text(first.to_json())
    both = run(
        folder,
        [artifact],
        replace(QUICK, imports=(folder / "board.json",)),
    )
    assert len(both.rows) == 4
    assert both.rows[3].latency_ms == first.rows[1].latency_ms
    assert "imported from board.json" in both.rows[3].notes[-1]
    assert BenchmarkResults.from_json(both.to_json()) == both
    assert len(table_rows(both)) == 5


def test_wrong_outputs_are_never_timed(folder: Path) -> None:
    from lth_deploy.workflow.artifact import open_session

    file = read_model_file(save_packed(folder / "ticket.onnx"))
    wrong = save_tiny(folder / "wrong.onnx", seed=5)
    candidate = Candidate("ticket", "packed", file, file, "onnxruntime", wrong)
    images = [np.full((60, 80, 3), 200, np.uint8)]
    opened = open_session(file, engine="onnxruntime", threads=1)
    with pytest.raises(ParityError, match=r"ticket on onnxruntime.*'scores'"):
        check_outputs(candidate, opened, images)
    peer = replace(candidate, engine="openvino")
    assert "scores" in check_outputs(peer, opened, images)[0]

    def failing(feeds: object, *, give_back: bool = False) -> dict[str, np.ndarray]:
        raise ArtifactError("while running Region0 node: the window is larger than its input")

    broken = replace(opened, session=SimpleNamespace(run=failing, describe=opened.session.describe))
    with pytest.raises(ParityError, match="cannot run with the kernel library: while running Region0"):
        check_outputs(replace(candidate, engine="lth_deploy"), broken, images)
    with pytest.raises(ArtifactError):
        check_outputs(candidate, broken, images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BenchmarkOptions(seconds=0), "--time"),
        (BenchmarkOptions(threads=(0,)), "--threads"),
        (BenchmarkOptions(engines=()), "engine"),
        (BenchmarkOptions(engines=("onnxrt",)), "unknown engine"),
        (BenchmarkOptions(images=0), "images"),
        (BenchmarkOptions(imports=(Path("no.json"),)), r"no\.json"),
    ],
)
def test_arguments_are_refused_before_anything_runs(folder: Path, options: BenchmarkOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(folder, [save_packed(folder / "ticket.onnx")], options)


def test_one_file_twice_and_damaged_imports_are_refused(folder: Path) -> None:
    artifact = save_packed(folder / "ticket.onnx")
    with pytest.raises(UsageError, match="twice"):
        run(folder, [artifact, artifact])
    (folder / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad\.json"):
        run(folder, [artifact], BenchmarkOptions(imports=(folder / "bad.json",)))


@pytest.mark.usefixtures("no_processes")
def test_a_peer_that_refuses_a_model_loses_its_row_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ArtifactError("operator If is not supported")

    monkeypatch.setattr(RUNTIMES.get("openvino"), "load", refuse)
    options = replace(QUICK, engines=("onnxruntime", "openvino"))
    results = run(folder, [save_packed(folder / "ticket.onnx")], options)
    assert [row.engine for row in results.rows] == ["onnxruntime", "onnxruntime"]
    assert ["If is not supported" in reason for reason in results.settings["left_out"]] == [True, True]


@pytest.mark.usefixtures("no_processes")
def test_files_with_regions_get_a_row_of_the_kernels(folder: Path) -> None:
    default = replace(QUICK, engines=("onnxruntime", "lth_deploy"))
    plain, regions = save_packed(folder / "plain.onnx"), folder / "regions.onnx"
    built, _ = build_regions(onnx.load(str(plain)), zeros_from(0.1))
    assert count_regions(built) == 1
    save_model(built, regions)
    found = run(folder, [plain, regions], default).rows
    assert sorted((row.name, row.engine) for row in found) == [
        ("plain", "onnxruntime"),
        ("plain-dense", "onnxruntime"),
        ("regions", "lth_deploy"),
        ("regions", "onnxruntime"),
    ]
    files = collect_candidates([regions], None, ("onnxruntime", "lth_deploy"), None, folder)
    assert [(one.name, one.engine) for one in files if one.kind == "dense"] == [("regions-dense", "onnxruntime")]
    only = run(folder, [plain], replace(QUICK, engines=("lth_deploy",))).rows
    assert {row.engine for row in only} == {"lth_deploy"}


def save_same_size(folder: Path) -> None:
    """Images of one size instead of several."""
    document = json.loads((folder / "annotations.json").read_text())
    for record in document["images"]:
        record.update(width=96, height=72)
        Image.new("RGB", (96, 72), (90, 80, 70)).save(folder / "images" / record["file_name"])
    (folder / "annotations.json").write_text(json.dumps(document))


needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


@needs_openvino
@pytest.mark.usefixtures("no_processes")
def test_the_dense_model_takes_part_on_every_installed_peer_unasked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    monkeypatch.setattr(RUNTIMES.get("openvino"), "precisions", lambda: ("fp32", "bf16"))
    save_same_size(folder)
    results = run(folder, [save_packed(folder / "ticket.onnx")], replace(QUICK, engines=None))
    peers = [row for row in results.rows if row.engine == "openvino"]
    assert [(row.kind, row.precision, row.shape) for row in peers] == [
        (kind, precision, shape)
        for kind, precision in (("dense", "fp32"), ("dense", "bf16"), ("int8", "int8"))
        for shape in (None, "72x96x3")
    ]
    assert all(row.latency_ms is not None and row.ap is not None for row in peers)
    dense = [row for row in results.rows if row.kind != "packed"]
    (best,) = [row for row in results.rows if row.best_dense]
    assert best in dense
    assert best.times_best_dense is not None
    assert best.times_best_dense.median == 1.0
    ticket = next(row for row in results.rows if row.name == "ticket")
    assert ticket.precision == "fp32"
    assert ticket.times_best_dense is not None
    assert ticket.times_best_dense.low <= ticket.times_best_dense.median <= ticket.times_best_dense.high
    assert BenchmarkResults.from_json(results.to_json()) == results
    cells = dict(zip(*(table_rows(results)[line] for line in (0, 1 + results.rows.index(peers[3]))), strict=True))
    assert (cells["precision"], cells["shape"]) == ("bf16", "72x96x3")
    page = report(storage_json(folder / "results.json", results), folder / "report.html").read_text()
    assert "openvino bf16 72x96x3" in page
    assert "Times best dense" in page


def storage_json(path: Path, results: BenchmarkResults) -> Path:
    path.write_text(results.to_json())
    return path


@needs_openvino
def test_a_fresh_process_loads_in_the_same_precision_and_shape(folder: Path) -> None:
    np.savez(folder / "feeds.npz", image=np.zeros((72, 96, 3), np.uint8))
    settings = LoadSettings(
        str(save_tiny(folder / "dense.onnx")), str(folder / "feeds.npz"), "openvino", 1, shapes={"image": (72, 96, 3)}
    )
    assert measure_load(settings).load_ms > 0
    with pytest.raises(ArtifactError, match="computes in fp32 or bf16 here, not in 'fp8'"):
        measure_load(replace(settings, precision="fp8"))


@needs_openvino
@pytest.mark.usefixtures("no_processes")
def test_a_given_shape_is_fixed_where_every_image_has_it(folder: Path) -> None:
    options = replace(QUICK, engines=("onnxruntime", "openvino"), shapes={"image": (72, 96, 3)})
    artifact = save_packed(folder / "ticket.onnx")
    with pytest.raises(UsageError, match=r"--shape 72x96x3: 1\.png needs 60x72x3"):
        run(folder, [artifact], options)
    with pytest.raises(UsageError, match="none of the engines fixes shapes"):
        run(folder, [artifact], replace(options, engines=("onnxruntime",)))
    save_same_size(folder)
    rows = run(folder, [artifact], options).rows
    assert {(row.name, row.engine, row.shape) for row in rows[4:]} == {("ticket-dense", "openvino", "72x96x3")}
    assert [row.precision for row in rows[4:]] == list(RUNTIMES.get("openvino").precisions())
    assert {row.shape for row in rows[:4]} == {None}


@needs_openvino
@pytest.mark.usefixtures("no_processes")
def test_a_peer_that_fails_on_an_image_only_loses_its_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ArtifactError("no such kernel")

    monkeypatch.setattr("lth_deploy.runtimes.openvino.OpenVinoSession.run", fail)
    results = run(folder, [save_packed(folder / "ticket.onnx")], replace(QUICK, engines=None))
    assert {row.engine for row in results.rows} == {"onnxruntime"}
    assert all("no such kernel" in reason for reason in results.settings["left_out"])
    assert results.rows[0].best_dense


def test_a_dense_engine_that_loses_ap_is_not_the_best(folder: Path) -> None:
    file = read_model_file(save_tiny(folder / "dense.onnx"), save_decoder(folder))
    exact = Candidate("dense", "dense", file, file, "onnxruntime")
    rows = [exact, replace(exact, engine="openvino", precision="bf16"), replace(exact, engine="lth_deploy")]

    def accuracy(ap: float | None) -> Accuracy:
        return Accuracy({"bbox": {"AP": ap}} if ap is not None else {}, None, [])

    times = [[[9.0]], [[3.0]], [[1.0]]]
    for ap, best in ((0.5, 1), (0.4951, 1), (0.4949, 0), (None, 0)):
        assert best_dense_engine(rows, [accuracy(0.5), accuracy(ap), accuracy(0.5)], times) == best


def test_a_quantized_baseline_has_no_other_precision(folder: Path) -> None:
    file = replace(read_model_file(save_tiny(folder / "dense.onnx"), save_decoder(folder)), quantized=True)
    baseline = Candidate("dense", "dense", file, file, "onnxruntime")
    found = peer_candidates(baseline, None, ("openvino",), None, lambda _: ("fp32", "bf16"))
    assert [(one.engine, one.values) for one in found] == [("openvino", "int8")]
