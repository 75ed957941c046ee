"""Files as SparseML writes them: zeros in weights, QDQ around weights, INT8 weights, and COO weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.model.save import save_model
from lth_deploy.config.target import Target
from lth_deploy.workflow.export.from_onnx import export_onnx
from lth_deploy.workflow.inspect.inspect import inspect_artifact
from tests.compiler.onnx_models import detector, initializers

ZEROS = 0.8


@pytest.fixture(autouse=True)
def small_noise(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    monkeypatch.setattr("lth_deploy.compiler.model.input_sizes.SIDE", 24)


def _weights(model: ModelProto) -> list[str]:
    """Names of the float weights that convolutions read."""
    held = initializers(model)
    read = (node.input[1] for node in model.graph.node if node.op_type == "Conv")
    return [name for name in dict.fromkeys(read) if name in held]


def _behind_qdq(model: ModelProto, *, folded: bool) -> None:
    """Weights as `ModuleExporter` leaves them after QAT, or with int8 weights, as its conversion folds them."""
    values = initializers(model)
    for name in _weights(model):
        weights = values[name]
        scale = np.float32(np.abs(weights).max() / 127)
        levels = np.clip(np.round(weights / scale), -127, 127).astype(np.int8)
        constants = {f"{name}.scale": scale, f"{name}.zero": np.int8(0)}
        added = [helper.make_node("DequantizeLinear", [f"{name}.q", *constants], [f"{name}.dq"], f"{name}/dq")]
        if folded:
            constants[f"{name}.q"] = levels
        else:
            added.insert(0, helper.make_node("QuantizeLinear", [name, *constants], [f"{name}.q"], f"{name}/q"))
        kept = [one for one in model.graph.initializer if not (folded and one.name == name)]
        del model.graph.initializer[:]
        added_values = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
        model.graph.initializer.extend([*kept, *added_values])
        for node in model.graph.node:
            node.input[:] = [f"{name}.dq" if one == name else one for one in node.input]
        for node in reversed(added):
            model.graph.node.insert(0, node)


def _in_coo(model: ModelProto) -> None:
    """Weights as sparse initializers with int64 positions in the flattened tensor."""
    values = initializers(model)
    for name in _weights(model):
        weights = values[name]
        place = np.flatnonzero(weights)
        found = numpy_helper.from_array(weights.reshape(-1)[place], name)
        indices = numpy_helper.from_array(place.astype(np.int64), f"{name}.indices")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(found, indices, list(weights.shape)))
        kept = [one for one in model.graph.initializer if one.name != name]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


FORMS = {
    "zeros": lambda model: None,
    "qdq": lambda model: _behind_qdq(model, folded=False),
    "int8": lambda model: _behind_qdq(model, folded=True),
    "coo": _in_coo,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_zeros_of_a_file_are_packed_and_nothing_else_is_pruned(form: str, tmp_path: Path) -> None:
    model = detector(ZEROS, opset=13, width=64)
    weights = [initializers(model)[name] for name in _weights(model)]
    zeros = {one.shape: float((one == 0).mean()) for one in weights}
    FORMS[form](model)
    onnx.checker.check_model(model)
    save_model(model, tmp_path / "theirs.onnx")
    made = export_onnx(tmp_path / "theirs.onnx", target=Target(values="fp32"))
    assert made.bytes < 0.6 * made.dense_bytes
    rows = {row.shape: row.zeros / row.elements for row in inspect_artifact(made.artifact).layers}
    # Small weights round to zero in INT8.
    exact = 1e-6 if form in ("zeros", "coo") else 0.02
    assert {shape: rows[shape] for shape in zeros} == pytest.approx(zeros, abs=exact)
    if form == "coo":
        assert not onnx.load(made.artifact).graph.sparse_initializer
