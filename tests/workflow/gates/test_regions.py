"""The gate of the kernels: it passes what is right, and catches a program that is not what its function computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.extract_region import extract_regions
from lth_deploy.compiler.artifact.inline_regions import has_regions
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.model.tensor_types import numpy_type
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from
from lth_deploy.config.target import GatesSpec, Target
from lth_deploy.errors import GateError, MissingLibraryError, ParityError
from lth_deploy.kernels import ops_library
from lth_deploy.measure.machine import describe_machine
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.structures import Block
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.gates import region_steps
from lth_deploy.workflow.gates.region_pair import region_pair
from lth_deploy.workflow.gates.regions import RegionCheck, hold_regions
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from tests.compiler.onnx_models import in_blocks
from tests.hostile.make_corpus import program_edit, valid_int8_region, valid_region


@pytest.fixture
def library() -> Path:
    try:
        return ops_library()
    except MissingLibraryError as error:
        pytest.skip(str(error))


def _inputs() -> list[tuple[str, dict[str, np.ndarray]]]:
    shapes = [(1, 64, 9, 12), (1, 64, 3, 3)]
    return [
        (f"noise {number}", {"x": np.random.default_rng(number).standard_normal(shape).astype(np.float32)})
        for number, shape in enumerate(shapes)
    ]


def _saved(model: ModelProto, folder: Path) -> Path:
    save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_sound_region_passes(library: Path, tmp_path: Path) -> None:
    check = hold_regions(_saved(valid_region(), tmp_path), _inputs(), GatesSpec())
    assert check is not None
    assert 0 <= check.deviation < 1e-5
    assert not check.unreached


def test_a_program_that_is_not_its_function_is_caught(library: Path, tmp_path: Path) -> None:
    model = valid_region()
    program_edit("act=relu", "act=leaky:0.1")(model)
    with pytest.raises(ParityError, match=r"Region0 of model\.onnx computes something else"):
        hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec())


def test_bytes_must_be_equal_where_nothing_is_fused(library: Path, tmp_path: Path) -> None:
    model = valid_int8_region()
    assert hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec()) == RegionCheck(0.0)
    # One step of another zero point in the middle: far below what floats may differ by, and still found.
    program_edit("act=none out=u8:0.0199999996:128\nt3", "act=none out=u8:0.0199999996:127\nt3")(model)
    with pytest.raises(ParityError, match="steps of its scale"):
        hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec())


def _residual_region() -> ModelProto:
    """A convolution between bytes, whose sum with its input is rounded once in the region."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {"scale": np.float32(0.05).reshape(()), "zero": np.uint8(120).reshape(())}
    bytes_ = ["scale", "zero"]
    nodes = [helper.make_node("QuantizeLinear", ["x", *bytes_], ["x.q"])]
    nodes.append(helper.make_node("DequantizeLinear", ["x.q", *bytes_], ["x.dq"]))
    tensors["w"] = in_blocks(rng.integers(-99, 99, (64, 64, 1, 1)).astype(np.int8), Block(1, 4), 0.8, rng)
    tensors["w.scale"] = np.full(64, 0.002, np.float32)
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "w.scale"], ["w.dq"], axis=0),
        helper.make_node("Conv", ["x.dq", "w.dq"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", *bytes_], ["h.q"]),
        helper.make_node("DequantizeLinear", ["h.q", *bytes_], ["h.dq"]),
        helper.make_node("Add", ["h.dq", "x.dq"], ["s"]),
        helper.make_node("QuantizeLinear", ["s", *bytes_], ["s.q"]),
        helper.make_node("DequantizeLinear", ["s.q", *bytes_], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("x", 1, ["n", 64, "h", "w_"])],
        [helper.make_tensor_value_info("y", 1, ["n", 64, "oh", "ow"])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return build_regions(pack(normalize(model))[0], zeros_from(0.3))[0]


def test_fused_additions_may_differ_by_steps_from_end_to_end(library: Path, tmp_path: Path) -> None:
    file = _saved(_residual_region(), tmp_path)
    for gates in (GatesSpec(), GatesSpec(int8_steps=1.01)):
        check = hold_regions(file, _inputs(), gates)
        assert check is not None
        assert check.deviation > 0
    with pytest.raises(ParityError, match=r"allowed are 0\.5"):
        hold_regions(file, _inputs(), GatesSpec(int8_steps=0.5))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("out=u8:0.0500000007:120\nt3", "out=u8:0.0510000007:120\nt3"),
        ("out=u8:0.0500000007:120\nt3", "out=u8:0.0500000007:121\nt3"),
        ("act=none out=u8:0.0500000007:120\nt3", "act=relu out=u8:0.0500000007:120\nt3"),
    ],
)
def test_a_program_with_a_fused_addition_that_is_not_its_function_is_caught(
    old: str, new: str, library: Path, tmp_path: Path
) -> None:
    model = _residual_region()
    program_edit(old, new)(model)
    with pytest.raises(ParityError, match="which its function does not make"):
        hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec())


def _one_weight(model: ModelProto) -> None:
    """A weight of the packed layer is another."""

    def nearer(values: np.ndarray) -> None:
        flat = values.reshape(-1)
        flat[7] += 2 if flat[7] < 0 else -2  # inside of the range, and in a real file not zero

    _edit(model, np.int8, nearer)


def _one_scale(model: ModelProto) -> None:
    """The scale of one output channel is off by 2 %."""
    _edit(model, np.float32, lambda values: values.__setitem__(5, values[5] * np.float32(1.02)))


def _two_channels(model: ModelProto) -> None:
    """Two output channels are exchanged, by way of their scales."""
    _edit(model, np.float32, lambda values: values.__setitem__(slice(0, 2), values[[1, 0]] * np.float32([1, 1.5])))


def _edit(model: ModelProto, dtype: type, change: Callable[[np.ndarray], object]) -> None:
    tensors = [one for one in model.graph.initializer if numpy_helper.to_array(one).dtype == dtype]
    tensor = max(tensors, key=lambda one: numpy_helper.to_array(one).size)
    values = numpy_helper.to_array(tensor).copy()
    change(values)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


class _Faulty:
    """The kernels, which see another file than they are given."""

    def __init__(self, fault: Callable[[ModelProto], None]) -> None:
        self.fault, self.kernels = fault, RUNTIMES.get("lth_deploy")

    def load(self, path: Path, *, threads: int = 0) -> Session:
        model = onnx.load_model(path)
        self.fault(model)
        other = path.with_suffix(".faulty.onnx")
        save_model(model, other)
        return self.kernels.load(other, threads=threads)


@pytest.mark.parametrize("fault", [_one_weight, _one_scale, _two_channels])
def test_kernels_that_compute_a_little_wrong_are_caught(
    fault: Callable[[ModelProto], None], library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _saved(_residual_region(), tmp_path)
    monkeypatch.setitem(RUNTIMES._entries, "lth_deploy", _Faulty(fault))
    with pytest.raises(ParityError, match=r"a convolution with the weight 'w': .* differ, by up to"):
        hold_regions(file, _inputs(), GatesSpec())


@pytest.mark.parametrize("fault", [_one_weight, _one_scale, _two_channels])
def test_a_function_that_computes_a_little_else_is_caught(
    fault: Callable[[ModelProto], None], library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = region_steps._loaded

    def other(model: ModelProto, *rest: Any) -> Any:
        changed = ModelProto()
        changed.CopyFrom(model)
        fault(changed)
        return true(changed, *rest)

    monkeypatch.setattr(region_steps, "_loaded", other)
    with pytest.raises(ParityError, match="a stock runtime computes another t2, a convolution with the weight 'w'"):
        hold_regions(_saved(_residual_region(), tmp_path), _inputs(), GatesSpec())


def test_where_a_stock_runtime_may_saturate_its_layers_are_computed_in_floats(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = describe_machine().model_copy(update={"isa": ["avx2"]})
    assert not machine.exact_u8s8
    monkeypatch.setattr("lth_deploy.workflow.gates.region_pair.describe_machine", lambda: machine)
    for model in (_residual_region(), valid_int8_region()):
        assert hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec()) is not None


def _enlarging_region() -> ModelProto:
    """A convolution whose large products cancel where all channels are alike: what it makes is rounding."""
    rng = np.random.default_rng(0)
    weights = np.zeros((64, 512), np.float32)
    for row in weights:
        places = rng.choice(512, 100, replace=False)
        row[places] = rng.integers(-60_000, 60_000, 100)
        row[places[0]] -= row.sum()
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "cancels")],
        "enlarging",
        [helper.make_tensor_value_info("x", 1, ["n", 512, "h", "w_"])],
        [helper.make_tensor_value_info("y", 1, ["n", 64, "oh", "ow"])],
        [numpy_helper.from_array(weights.reshape(64, 512, 1, 1), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return build_regions(pack(normalize(model))[0], zeros_from(0.3))[0]


def _alike(images: int = 2) -> list[tuple[str, dict[str, np.ndarray]]]:
    plane = np.random.default_rng(0).standard_normal((images, 1, 9, 12)).astype(np.float32)
    return [("noise", {"x": np.repeat(plane, 512, axis=1)})]


def test_rounding_that_a_region_enlarges_passes(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = _saved(_enlarging_region(), tmp_path)
    with caplog.at_level("INFO"):
        check = hold_regions(file, _alike(images=20), GatesSpec())
    assert check is not None
    assert check.deviation > GatesSpec().output_difference
    assert "against double precision the kernels are off by" in caplog.text
    assert "so this is rounding" in caplog.text


def _one_large_weight(model: ModelProto) -> None:
    """The largest weight of the layer is off by a hundredth of a percent: far less than it enlarges."""

    def nearer(values: np.ndarray) -> None:
        flat = values.reshape(-1)
        flat[np.abs(flat).argmax()] *= np.float32(1.0001)

    _edit(model, np.float32, nearer)


def test_a_fault_is_not_taken_for_rounding(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _saved(_enlarging_region(), tmp_path)
    monkeypatch.setitem(RUNTIMES._entries, "lth_deploy", _Faulty(_one_large_weight))
    with pytest.raises(ParityError, match=r"largest deviation .*; t1, a conv with the weight 'w': .* differ, by up to"):
        hold_regions(file, _alike(), GatesSpec())


def test_kernels_far_less_exact_than_the_stock_runtime_are_refused(library: Path, tmp_path: Path) -> None:
    """A stock runtime that were exact: the same kernels are then refused."""
    file = _saved(_enlarging_region(), tmp_path)
    (region,) = extract_regions(load_model(file))
    feeds = _alike()[0][1]
    exact = {"y": np.zeros_like(feeds["x"][:, :64])}  # the weights of each output have the sum 0
    pair = region_pair(file, region, tmp_path)
    with pytest.raises(
        ParityError, match=r"the kernels are off by 0\.\d+ and the stock runtime by 0; the file was not"
    ):
        pair.compare({**feeds, **exact}, GatesSpec(), "noise")


ROUNDING = GatesSpec(bf16_difference=1e-6, output_difference=1e-6)


def test_rounding_to_bf16_beyond_the_bound_passes_where_ap_says_what_it_costs(
    library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = _saved(valid_region("bf16"), tmp_path)
    with caplog.at_level("INFO"):
        check = hold_regions(file, _inputs(), ROUNDING, by_ap=True)
    assert check is not None
    assert 1e-6 < check.deviation < GatesSpec().bf16_difference
    assert "AP says what that costs" in caplog.text
    with pytest.raises(GateError, match=r"rounding to bf16 moves .* 1e-06 \(gates.bf16_.* give --data .*--values fp16"):
        hold_regions(file, _inputs(), ROUNDING)


def _one_bf16_weight(model: ModelProto) -> None:
    """A weight of the first layer is off by a step of bf16."""

    def nearer(values: np.ndarray) -> None:
        values.reshape(-1).view(np.uint16)[7] += 1

    _edit(model, numpy_type(TensorProto.BFLOAT16), nearer)


def test_a_fault_is_not_taken_for_rounding_to_bf16(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _saved(valid_region("bf16"), tmp_path)
    monkeypatch.setitem(RUNTIMES._entries, "lth_deploy", _Faulty(_one_bf16_weight))
    with pytest.raises(ParityError, match=r"t1, a conv with the weight 'w': .* differ, by up to"):
        hold_regions(file, _inputs(), ROUNDING, by_ap=True)


def test_a_region_that_cannot_run_is_a_parity_failure(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(model: ModelProto) -> None:
        program_edit("pads=0,0,0,0 dilation=1,1 groups=1 act=relu", "pads=0,0,0,0 dilation=8,8 groups=1 act=relu")(
            model
        )

    file = _saved(valid_region(), tmp_path)
    monkeypatch.setitem(RUNTIMES._entries, "lth_deploy", _Faulty(failing))
    tiny = [("a tiny input", {"x": np.ones((1, 64, 9, 9), np.float32)})]
    with pytest.raises(ParityError, match=r"Region0 of model\.onnx cannot run .* on a tiny input: .*Region0"):
        hold_regions(file, tiny, GatesSpec())


def test_a_region_that_nothing_reaches_is_said(library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = [("an empty photo", {"x": np.ones((0, 64, 9, 12), np.float32)})]
    file = _saved(_residual_region(), tmp_path)
    assert hold_regions(file, empty, GatesSpec()) == RegionCheck(0.0, ("Region0",))
    assert "Region0 (1 layers) of model.onnx was not checked" in caplog.text
    caplog.clear()
    check = hold_regions(file, [*empty, *_inputs()], GatesSpec())
    assert check is not None
    assert not check.unreached
    assert "was not checked" not in caplog.text


def test_without_the_library_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise MissingLibraryError("not built")

    monkeypatch.setattr("lth_deploy.workflow.gates.regions.ops_library", missing)
    assert hold_regions(_saved(valid_region(), tmp_path), _inputs(), GatesSpec()) is None


def test_a_lone_region_is_the_region(tmp_path: Path) -> None:
    (region,) = extract_regions(valid_region())
    assert (region.name, region.inputs, region.outputs) == ("Region0", ("x",), ("y",))


@pytest.mark.parametrize("regions", ["auto", "none"])
def test_the_target_decides(regions: str, tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    save_model(valid_region(), source)
    made = export_onnx(source, OnnxJob(sparsity=0.8), target=Target(regions=regions))  # type: ignore[arg-type]
    assert made.deviation == 0.0
    model = load_model(made.artifact)
    assert has_regions(model) == (regions == "auto")
    rows = {row.name: row for row in inspect_artifact(made.artifact).layers}
    assert rows["w"].region == ("Region0" if regions == "auto" else None)
    metadata = read_metadata(model)
    assert metadata is not None
    assert ("w" in metadata.dense_because) == (regions == "none")


@pytest.mark.slow
def test_a_real_detector_passes_and_one_wrong_weight_in_it_is_caught(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outputs differ from the stock runtime's by more than 16 steps on noise, as sums are rounded once."""
    file = Path(__file__).parents[3] / "benchmarks/artifacts/bccd_retinanet_r18-90-in4-int8.onnx"
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 3)).astype(np.uint8)
    noise = [("noise", {"image": pixels})]
    check = hold_regions(file, noise, GatesSpec())
    assert check is not None
    assert not check.unreached
    with pytest.raises(ParityError, match=r"allowed are 16"):
        hold_regions(file, noise, GatesSpec(int8_steps=16))
    monkeypatch.setitem(RUNTIMES._entries, "lth_deploy", _Faulty(_one_weight))
    with pytest.raises(ParityError, match=r"a convolution with the weight '.*': .* differ, by up to 1 steps"):
        hold_regions(file, noise, GatesSpec())
