"""Tensors that are stacked only to be summed are added."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from lth_deploy.compiler.importing.imported import import_model
from tests.compiler.importing.node_cases import as_model
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
FEEDS = {
    name: np.random.default_rng(i).standard_normal((1, 4, 6, 5)).astype(np.float32) for i, name in enumerate("abc")
}


def stacked(
    count: int, axis: int = -1, keepdims: int = 0, summed: int | None = None, outputs: tuple[str, ...] = ("y",)
) -> ModelProto:
    """The sum of the first inputs, stacked at an axis. summed: another axis to sum over."""
    names = list("abc"[:count])
    constants: dict[str, Any] = {"at": np.array([axis]), "over": np.array([axis if summed is None else summed])}
    nodes = [N("Unsqueeze", [name, "at"], [f"{name}.u"]) for name in names]
    nodes.append(N("Concat", [f"{name}.u" for name in names], ["j"], axis=axis))
    nodes.append(N("ReduceSum", ["j", "over"], ["y"], keepdims=keepdims))
    return as_model(nodes, {name: FEEDS[name] for name in names}, list(outputs), 17, **constants)


@pytest.mark.parametrize("axis", [-1, 0, 2])
@pytest.mark.parametrize("count", [2, 3])
def test_sums_of_stacked_tensors_are_additions(axis: int, count: int) -> None:
    imported = imported_alike(stacked(count, axis), {name: FEEDS[name] for name in "abc"[:count]})
    assert operators(imported) == ["Add"] * (count - 1)
    assert "wrote 1 sums of stacked tensors as additions" in imported.notes


@pytest.mark.parametrize(
    "model",
    [
        lambda: stacked(2, keepdims=1),
        lambda: stacked(2, summed=1),
        lambda: stacked(2, outputs=("y", "j")),
        lambda: stacked(3, outputs=("y", "b.u")),
    ],
)
def test_what_else_is_read_or_kept_stays(model: Any) -> None:
    made = model()
    assert operators(import_model(made)) == [node.op_type for node in made.graph.node]
