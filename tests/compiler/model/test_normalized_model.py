"""Laws of the normalized model: who makes one, and how often one export copies it."""

import ast
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lth_deploy
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from tests.compiler.model.copies import counted_copies

PACKAGE = Path(lth_deploy.__file__).parent
MAKERS = {
    "compiler/importing/imported.py": "import normalizes a model",
    "compiler/model/normalized_model.py": "a pass changes a normalized model, which keeps the guarantees",
}
"""Files that may call NormalizedModel(...), and why the result is normalized."""

MOST_COPIES = 10  # two of them are the dense twin whose time is predicted
MOST_SERIALIZED = 7  # two of them are this twin: it is run, and asked for the shapes of its values


def _calls(file: Path) -> list[int]:
    """Lines that construct a NormalizedModel, whatever it is called by."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {"NormalizedModel"} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == "NormalizedModel" and alias.asname
    }
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        func.lineno
        for func in called
        if (isinstance(func, ast.Name) and func.id in names)
        or (isinstance(func, ast.Attribute) and func.attr == "NormalizedModel")
    ]


def test_only_import_and_edits_make_a_normalized_model() -> None:
    found = {str(file.relative_to(PACKAGE)): lines for file in PACKAGE.rglob("*.py") if (lines := _calls(file))}
    assert found.keys() == MAKERS.keys(), f"a pass takes and returns a NormalizedModel; see `edited`: {found}"


@pytest.fixture
def heavy_model(tmp_path: Path) -> tuple[Path, int]:
    """A model of which nearly all bytes are one weight, and the bytes of that weight."""
    rng = np.random.default_rng(0)
    stem = rng.standard_normal((64, 3, 3, 3)).astype(np.float32)
    heavy = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "stem"], ["a"], "a", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"], "b"),
            helper.make_node("Conv", ["b", "heavy"], ["y"], "y", pads=[1] * 4),
        ],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(stem, "stem"), numpy_helper.from_array(heavy, "heavy")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "in.onnx")
    return tmp_path / "in.onnx", heavy.nbytes


@pytest.mark.usefixtures("in_this_process")
def test_one_export_copies_the_model_a_bounded_number_of_times(heavy_model: tuple[Path, int], tmp_path: Path) -> None:
    """Of large models each copy costs memory and time. A pass that needs another one says so here."""
    path, weight_bytes = heavy_model
    with counted_copies(weight_bytes // 2) as found:
        export_onnx(path, OnnxJob(sparsity=0.8), target=Target(profile=False, values="fp32"), out=tmp_path / "out")
    copies = sum(count for place, count in found.items() if place.startswith("copied"))
    serialized = sum(count for place, count in found.items() if place.startswith("serialized"))
    assert 1 <= copies <= MOST_COPIES, found
    assert 1 <= serialized <= MOST_SERIALIZED, found


def test_copies_of_every_form_are_counted(heavy_model: tuple[Path, int]) -> None:
    path, weight_bytes = heavy_model
    model = onnx.load(path)
    with counted_copies(weight_bytes // 2) as found:
        second = onnx.ModelProto()
        second.CopyFrom(model)
        third = onnx.ModelProto()
        third.ParseFromString(model.SerializeToString())
        del third.graph.initializer[:]
        third.graph.initializer.extend(model.graph.initializer)
        for tensor in model.graph.initializer:
            second.graph.initializer.append(tensor)
        onnx.NodeProto().CopyFrom(model.graph.node[0])
    kinds = sorted(place.partition(" ")[0] for place in found.elements())
    assert kinds == ["copied"] * 4 + ["serialized"]
