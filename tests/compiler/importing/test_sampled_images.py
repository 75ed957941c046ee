"""Bilinear samples of images written out as gathers of corners become GridSample."""

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

from lth_deploy.compiler.importing.imported import import_model
from tests.compiler.importing.node_cases import as_model
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
IMAGE, PLACES = (2, 3, 5, 7), (2, 11, 4)
RNG = np.random.default_rng(0)
FEEDS = {
    "x": RNG.standard_normal(IMAGE).astype(np.float32),
    "g": RNG.uniform(-1.2, 1.2, (*PLACES, 2)).astype(np.float32),
}


class Written:
    """Nodes with names of their own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str | float | list[int], **attributes: object) -> str:
        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(N(kind, names, [name], name, **attributes))
        return name

    def _constant(self, value: float | list[int]) -> str:
        name = f"constant.{len(self.tensors)}"
        dtype = np.float32 if isinstance(value, float) else np.int64
        self.tensors[name] = np.asarray(value, dtype)
        return name

    def place(self, places: str, axis: int, size: int) -> tuple[list[str], list[str]]:
        """Both corners in one direction as whole numbers, and their weights."""
        at = self.op("Gather", places, axis, axis=3)
        at = self.op("Sub", self.op("Div", self.op("Mul", self.op("Add", at, 1.0), float(size)), 2.0), 0.5)
        low = self.op("Cast", self.op("Floor", at), to=7)
        far = self.op("Sub", at, self.op("Cast", low, to=1))
        corners = [low, self.op("Add", low, 1)]
        weights = []
        for corner, weight in zip(corners, (self.op("Sub", 1.0, far), far), strict=True):
            inside = self.op("And", self.op("GreaterOrEqual", corner, 0), self.op("Less", corner, size))
            weights.append(self.op("Mul", weight, self.op("Cast", inside, to=1)))
        return [self.op("Clip", corner, 0, size - 1) for corner in corners], weights

    def sampled(self, image: str, places: str) -> str:
        batch, channels, height, width = IMAGE
        columns, across = self.place(places, 0, width)
        rows, down = self.place(places, 1, height)
        flat = self.op("Reshape", image, [batch, channels, -1])
        count = PLACES[1] * PLACES[2]
        total = None
        for row, high in zip(rows, down, strict=True):
            for column, left in zip(columns, across, strict=True):
                index = self.op("Add", self.op("Mul", row, width), column)
                index = self.op("Unsqueeze", self.op("Reshape", index, [batch, count]), [1])
                index = self.op("Expand", index, [batch, channels, count])
                pixels = self.op("GatherElements", flat, index, axis=2)
                pixels = self.op("Reshape", pixels, [batch, channels, *PLACES[1:]])
                weight = self.op("Unsqueeze", self.op("Mul", high, left), [1])
                term = self.op("Mul", pixels, weight)
                total = term if total is None else self.op("Add", total, term)
        assert total is not None
        return total

    def model(self, *outputs: str, opset: int = 17) -> ModelProto:
        return as_model(self.nodes, FEEDS, list(outputs), opset, **self.tensors)


@pytest.mark.parametrize(("opset", "mode"), [(16, b"bilinear"), (17, b"bilinear"), (20, b"linear")])
def test_a_sampling_becomes_one_node(opset: int, mode: bytes) -> None:
    written = Written()
    model = written.model(written.op("Neg", written.sampled("x", "g")), opset=opset)
    imported = imported_alike(model, FEEDS)
    assert operators(imported) == ["GridSample", "Neg"]
    (how,) = [one.s for one in imported.normalized.proto.graph.node[0].attribute if one.name == "mode"]
    assert how == mode
    assert "wrote 1 bilinear samplings of gathered corners as GridSample" in import_model(model).notes


def test_two_samplings_of_one_image() -> None:
    written = Written()
    image = written.op("Relu", "x")
    first, second = written.sampled(image, "g"), written.sampled(image, written.op("Neg", "g"))
    imported = imported_alike(written.model(written.op("Add", first, second)), FEEDS)
    assert sorted(operators(imported)) == ["Add", "GridSample", "GridSample", "Neg", "Relu"]


def test_older_opsets_have_no_such_node() -> None:
    written = Written()
    model = written.model(written.sampled("x", "g"), opset=13)
    assert "GatherElements" in operators(imported_alike(model, FEEDS))


def test_what_is_read_elsewhere_stays() -> None:
    written = Written()
    made = written.sampled("x", "g")
    (floor, *_) = [node.output[0] for node in written.nodes if node.op_type == "Floor"]
    assert "GridSample" not in operators(imported_alike(written.model(made, floor), FEEDS))


@pytest.mark.parametrize("old", [0.5, 2.0])
def test_what_computes_something_else_stays(old: float) -> None:
    written = Written()
    model = written.model(written.sampled("x", "g"))
    for tensor in model.graph.initializer:
        if tensor.raw_data == np.float32(old).tobytes():
            tensor.raw_data = np.float32(old + 0.25).tobytes()
    assert "GridSample" not in operators(imported_alike(model, FEEDS))
