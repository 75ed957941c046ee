"""The gate of the kernels: it passes what is right, and catches a program that is not what its function computes."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.load import load_model
from lth_deploy.compiler.metadata import read_metadata
from lth_deploy.compiler.pack import pack
from lth_deploy.compiler.regions.alone import lone_regions
from lth_deploy.compiler.regions.build import build_regions, zeros_from
from lth_deploy.compiler.regions.expand import has_regions
from lth_deploy.compiler.save import save_model
from lth_deploy.errors import MissingLibraryError, ParityError
from lth_deploy.formats import Block
from lth_deploy.kernels import ops_library
from lth_deploy.target import GatesSpec, Target
from lth_deploy.workflow.export_onnx import OnnxJob, export_onnx
from lth_deploy.workflow.inspect import inspect_artifact
from lth_deploy.workflow.region_gate import hold_regions
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
    deviation = hold_regions(_saved(valid_region(), tmp_path), _inputs(), GatesSpec())
    assert deviation is not None
    assert 0 <= deviation < 1e-5


def test_a_program_that_is_not_its_function_is_caught(library: Path, tmp_path: Path) -> None:
    model = valid_region()
    program_edit("act=relu", "act=leaky:0.1")(model)
    with pytest.raises(ParityError, match=r"Region0 of model\.onnx computes something else"):
        hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec())


def test_bytes_must_be_equal_where_nothing_is_fused(library: Path, tmp_path: Path) -> None:
    model = valid_int8_region()
    assert hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec()) == 0.0
    # One step of another zero point in the middle: far below what floats may differ by, and still found.
    program_edit("act=none out=u8:0.0199999996:128\nt3", "act=none out=u8:0.0199999996:127\nt3")(model)
    with pytest.raises(ParityError, match="steps of its scale"):
        hold_regions(_saved(model, tmp_path), _inputs(), GatesSpec())


def test_fused_additions_may_differ_by_steps_and_not_by_more(library: Path, tmp_path: Path) -> None:
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
        [helper.make_tensor_value_info("x", 1, [1, 64, "h", "w_"])],
        [helper.make_tensor_value_info("y", 1, [1, 64, "oh", "ow"])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    built, _ = build_regions(pack(model)[0], zeros_from(0.3))
    deviation = hold_regions(_saved(built, tmp_path), _inputs(), GatesSpec(int8_steps=1.01))
    assert deviation is not None
    assert deviation > 0
    with pytest.raises(ParityError, match=r"allowed are 0\.5"):
        hold_regions(_saved(built, tmp_path), _inputs(), GatesSpec(int8_steps=0.5))


def test_without_the_library_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise MissingLibraryError("not built")

    monkeypatch.setattr("lth_deploy.workflow.region_gate.ops_library", missing)
    assert hold_regions(_saved(valid_region(), tmp_path), _inputs(), GatesSpec()) is None


def test_a_lone_region_is_the_region(tmp_path: Path) -> None:
    (region,) = lone_regions(valid_region())
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
