"""Models whose outputs differ by equal scores, or by conversions that a stock runtime merges, are compared again."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from lth_deploy.errors import ParityError
from lth_deploy.workflow.gates.raw_outputs import hold_raw_outputs

N = helper.make_node
FEEDS = {"x": np.random.default_rng(0).standard_normal((1, 40, 3)).astype(np.float32)}


def model(nodes: list[NodeProto], outputs: list[str], **tensors: object) -> ModelProto:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    given = [helper.make_tensor_value_info("x", 1, [1, 40, 3])]
    made = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph(nodes, "choosing", given, made, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def choosing(noise: float = 0.0, *, factor: float = 2.0, count: int = 5, largest: int = 1) -> ModelProto:
    """Rows by scores of which all are nearly equal, as those of untrained queries are; noise: of the scores."""
    spread = np.linspace(0, 1, 40, dtype=np.float32)[None] * np.float32(noise)
    nodes = [
        N("ReduceSum", ["x", "two"], ["sums"], keepdims=0),
        N("Mul", ["sums", "zero"], ["equal"]),
        N("Add", ["equal", "spread"], ["scores"]),
        N("TopK", ["scores", "k"], ["best", "places"], axis=1, largest=largest),
        N("Unsqueeze", ["places", "two"], ["rows"]),
        N("Expand", ["rows", "shape"], ["index"]),
        N("GatherElements", ["x", "index"], ["chosen"], axis=1),
        N("Mul", ["chosen", "factor"], ["boxes"]),
    ]
    shape, k = np.array([1, count, 3]), np.array([count])
    constants = {"two": np.array([2]), "zero": np.float32(0), "spread": spread, "k": k, "shape": shape}
    return model(nodes, ["boxes", "best"], factor=np.float32(factor), **constants)


def hold(tmp_path: Path, reference: ModelProto, candidate: ModelProto) -> float:
    files = [tmp_path / "reference.onnx", tmp_path / "candidate.onnx"]
    for one, file in zip((reference, candidate), files, strict=True):
        onnx.save(one, str(file))
    return hold_raw_outputs(*files, [("noise", FEEDS)], 1e-4)


def test_equal_scores_may_be_chosen_in_another_order(tmp_path: Path) -> None:
    assert hold(tmp_path, choosing(), choosing(noise=1e-6)) <= 1e-5


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (choosing(noise=1e-2), "scores of places"),
        (choosing(noise=1e-6, factor=2.001), "boxes"),
        (choosing(noise=1e-6, count=4), "boxes|best"),
    ],
    ids=["scores", "what follows", "number"],
)
def test_what_differs_otherwise_is_refused(tmp_path: Path, candidate: ModelProto, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        hold(tmp_path, choosing(), candidate)


def test_another_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"best|boxes"):
        hold(tmp_path, choosing(noise=1), choosing(noise=1, largest=0))


def rounded(*scales: float, hidden: bool = False) -> ModelProto:
    """Conversions one behind the other. hidden: another reader between them, so that the runtime leaves them alone."""
    nodes, name = [], "x"
    for place, _ in enumerate(scales):
        nodes += [N("QuantizeLinear", [name, f"s{place}", "z"], [f"q{place}"])]
        nodes += [N("DequantizeLinear", [f"q{place}", f"s{place}", "z"], [f"d{place}"])]
        name = f"d{place}"
    if hidden:
        nodes += [N("Mul", ["d0", "nothing"], ["none"]), N("Add", [name, "none"], ["sum"])]
    else:
        nodes += [N("Add", [name, "nothing"], ["sum"])]
    numbers = {f"s{place}": np.float32(scale) for place, scale in enumerate(scales)}
    return model(nodes, ["sum"], z=np.uint8(100), nothing=np.float32(0), **numbers)


def test_conversions_are_what_the_files_say(tmp_path: Path) -> None:
    assert hold(tmp_path, rounded(0.03, 0.05, hidden=True), rounded(0.03, 0.05)) <= 1e-6


def test_other_conversions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="sum"):
        hold(tmp_path, rounded(0.03, 0.05, hidden=True), rounded(0.03, 0.051))
