"""Differences from a constant of channels, and quotients by one, become sums and products."""

import numpy as np
import pytest
from onnx import ModelProto, helper

from lth_deploy.compiler.importing.imported import import_model
from tests.compiler.importing.node_cases import as_model
from tests.compiler.importing.plain_models import imported_alike, operators

FEEDS = {"x": np.random.default_rng(0).standard_normal((1, 3, 6, 5)).astype(np.float32)}
OF_CHANNELS = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)


def model(operator: str, constant: np.ndarray, reverse: bool = False) -> ModelProto:
    operands = ["c", "x"] if reverse else ["x", "c"]
    return as_model([helper.make_node(operator, operands, ["y"])], FEEDS, ["y"], 17, c=constant)


@pytest.mark.parametrize("constant", [OF_CHANNELS, OF_CHANNELS[None]])
@pytest.mark.parametrize(("operator", "written"), [("Sub", "Add"), ("Div", "Mul")])
def test_a_constant_of_channels(operator: str, written: str, constant: np.ndarray) -> None:
    imported = imported_alike(model(operator, constant), FEEDS)
    assert operators(imported) == [written]
    assert "wrote 1 differences and quotients of channels as sums and products" in imported.notes


@pytest.mark.parametrize(
    "made",
    [
        model("Sub", OF_CHANNELS, reverse=True),
        model("Div", OF_CHANNELS, reverse=True),
        model("Div", np.zeros((3, 1, 1), np.float32)),
        model("Div", np.full((3, 1, 1), 1e-45, np.float32)),
        model("Sub", np.full((3, 1, 1), np.inf, np.float32)),
        model("Sub", np.float32(0.5)),
        model("Div", np.ones((1, 3, 6, 5), np.float32)),
    ],
    ids=["reversed", "reciprocals", "zeros", "overflow", "infinite", "scalar", "no channels"],
)
def test_what_else_stays(made: ModelProto) -> None:
    assert operators(import_model(made)) == [node.op_type for node in made.graph.node]
