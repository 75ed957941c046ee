"""Every operator in every version of it, through import: it must compute the very same afterwards."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.importing.opsets import STEPS, next_version
from lth_deploy.compiler.model.opset import standard_opset
from lth_deploy.errors import ArtifactError
from tests.compiler.importing.node_cases import (
    Example,
    as_model,
    distinct_versions,
    equal,
    examples,
    holds,
    in_opset,
    run,
)

REFUSED = {"Resize": "mode 'cubic'", "Scan": "loop over the batch"}
"""Operators of which the standard's examples have no exact form in newer opsets, and the reason that must be given."""

ON_OWN_MODELS = {"AveragePool", "BatchNormalization", "Cast", "DepthToSpace", "LpPool", "MaxPool"}
"""Operators with steps that the standard's examples do not take: they are tried further down."""

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 7, 6)).astype(np.float32)


def steps_of(operator: str, opset: int) -> set[tuple[str, int]]:
    """The steps that an operator of an opset takes to 13."""
    found = set()
    at = opset
    while (step := next_version(operator, at)) is not None:
        found.add((operator, step))
        at = step
    return found


def test_operators_of_every_version_compute_the_same_after_import() -> None:
    counts: Counter[str] = Counter()
    tried: set[tuple[str, int]] = set()
    for example in examples():
        for opset in distinct_versions(example.operator, 12):
            old = in_opset(example, opset)
            if old is not None:
                counts[_outcome(old)] += 1
                tried |= steps_of(old.operator, opset)
    assert counts["same"] > 900
    assert set(counts) <= {"same", "refused", "not run by ONNX Runtime"}
    assert {name for name, _ in STEPS.keys() - tried} == ON_OWN_MODELS


def _outcome(old: Example) -> str:
    try:
        before = run(old.model, old.feeds)
    except Exception:  # ONNX Runtime has no kernel for this version or type
        return "not run by ONNX Runtime"
    try:
        after = import_model(old.model).normalized.proto
    except ArtifactError as error:
        expected = "opset" in str(error) and REFUSED.get(old.operator, "no reason") in str(error)
        return "refused" if expected else f"{old.name}: {error}"
    assert equal(before, run(after, old.feeds)), f"{old.name} computes something else after import"
    return "same"


def test_models_of_new_opsets_stay_as_they_are() -> None:
    chosen = [example for example in examples() if standard_opset(example.model) >= 13]
    assert len(chosen) > 500
    for example in chosen:
        if example.operator != "Constant":
            imported = import_model(example.model)
            assert imported.normalized.proto.graph.node == example.model.graph.node, example.name
            assert standard_opset(imported.normalized.proto) == standard_opset(example.model)


@pytest.mark.parametrize("scales", [(2, 2), (1.3, 1.7), (0.5, 0.5), (0.6, 0.35), (1.7, 0.6), (0.5, 2), (1, 1), (3, 1)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("computed", [False, True])
def test_resize_10(mode: str, scales: tuple[float, float], computed: bool) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    feeds = {"x": X, **({"s": factors} if computed else {})}
    tensors = {} if computed else {"s": factors}
    nodes = [helper.make_node("Resize", ["x", "s"], ["y"], mode=mode)]
    after = holds(as_model(nodes, feeds, ["y"], 10, **tensors), feeds)
    one_way = mode == "linear" or (not computed and (min(scales) >= 1 or max(scales) <= 1))
    assert [node.op_type for node in after.graph.node].count("Resize") == (1 if one_way else 2)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2, 2), (1.3, 1.7), (1, 3)])
@pytest.mark.parametrize("opset", [7, 8, 9])
def test_upsample(mode: str, scales: tuple[float, float], opset: int) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    if opset < 9:
        model = as_model(
            [helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=factors)], {"x": X}, ["y"], opset
        )
    else:
        node = helper.make_node("Upsample", ["x", "s"], ["y"], mode=mode)
        model = as_model([node], {"x": X}, ["y"], opset, s=factors)
    holds(model, {"x": X})


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(("opset", "axis"), [(9, 0), (9, None), (9, 2), (9, 3), (11, -1), (12, -3), (12, 1)])
@pytest.mark.parametrize("ranked", [True, False])
def test_softmax_over_several_axes(operator: str, opset: int, axis: int | None, ranked: bool) -> None:
    node = helper.make_node(operator, ["x"], ["y"], **({} if axis is None else {"axis": axis}))
    model = as_model([node], {"x": X}, ["y"], opset)
    if not ranked:
        model.graph.input[0].type.tensor_type.ClearField("shape")
    after = holds(model, {"x": X})
    # The shape that the rows get back is a constant where it is known.
    assert len(after.graph.node) == (1 if axis == -1 or (ranked and axis == 3) else 3 if ranked else 4)


@pytest.mark.parametrize("opset", [7, 9, 10, 12])
@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1]),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], p=2),
        helper.make_node("GlobalAveragePool", ["x"], ["y"]),
        helper.make_node("Clip", ["x"], ["y"]),
    ],
    ids=lambda node: f"{node.op_type}{len(node.attribute)}",
)
def test_pools(node: onnx.NodeProto, opset: int) -> None:
    feeds = {"x": np.where(X > 1.5, np.float32(np.inf), X)} if node.op_type == "Clip" else {"x": X}
    holds(as_model([node], feeds, ["y"], opset), feeds)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12])
def test_operators_whose_examples_are_only_of_new_versions(opset: int) -> None:
    norm = {"a": RNG.standard_normal(4).astype(np.float32), "v": np.ones(4, np.float32)}
    x = RNG.standard_normal((1, 4, 2, 3)).astype(np.float32)
    old = {"spatial": 1} if opset < 9 else {}
    nodes = [
        helper.make_node("BatchNormalization", ["x", "a", "a", "a", "v"], ["n"], momentum=0.8, epsilon=1e-3, **old),
        helper.make_node("DepthToSpace", ["n"], ["d"], blocksize=2),
        helper.make_node("Cast", ["d"], ["c"], to=TensorProto.INT32),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    holds(as_model(nodes, {"x": x}, ["d", "y"], opset, **norm), {"x": x})


def _info(name: str, kind: int, shape: list[Any] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.mark.parametrize("opset", [9, 10])
def test_operators_inside_loops_and_branches(opset: int) -> None:
    operator = "Upsample" if opset == 9 else "Resize"
    branch = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["v"], ["v5"], axes=[0]),
            helper.make_node("Squeeze", ["v5"], ["v4"], axes=[0]),
            helper.make_node(operator, ["v4", "scales"], ["r"], mode="linear"),
        ],
        "then",
        [],
        [_info("r", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Hardmax", ["v"], ["h"])], "else", [], [_info("h", TensorProto.FLOAT, None)]
    )
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("If", ["flag"], ["out"], then_branch=branch, else_branch=other),
        ],
        "body",
        [_info("n", TensorProto.INT64, []), _info("c", TensorProto.BOOL, []), _info("v", TensorProto.FLOAT, None)],
        [_info("c2", TensorProto.BOOL, []), _info("out", TensorProto.FLOAT, None)],
    )
    feeds = {"x": X, "flag": np.array(True)}
    nodes = [helper.make_node("Loop", ["m", "t", "x"], ["y"], body=body)]
    scales = np.array([1, 1, 1.5, 0.7 if opset == 10 else 1.2], np.float32)
    model = as_model(nodes, feeds, ["y"], opset, m=np.array(2), t=np.array(True), scales=scales)
    for flag in (True, False):
        holds(model, {**feeds, "flag": np.array(flag)})


@pytest.mark.parametrize(
    ("node", "opset", "reason"),
    [
        (helper.make_node("BatchNormalization", ["x", "a", "a", "a", "a"], ["y"], "n", spatial=0), 8, "spatial"),
        (helper.make_node("Dropout", ["x"], ["y", "m"], "n"), 9, "mask"),
    ],
    ids=["BatchNormalization", "Dropout"],
)
def test_what_has_no_exact_form_is_refused_by_name(node: onnx.NodeProto, opset: int, reason: str) -> None:
    model = as_model([node], {"x": X}, ["y"], opset, a=np.ones(3, np.float32))
    with pytest.raises(
        ArtifactError, match=f"{node.op_type} of opset {opset} .node 'n'. .*{reason}.*opset 13 or later"
    ):
        import_model(model)


def test_the_log_says_what_was_rewritten() -> None:
    node = helper.make_node("Clip", ["x"], ["y"], min=0.0)
    notes = import_model(as_model([node], {"x": X}, ["y"], 9)).notes
    assert notes == ("opset 9 was converted to 13, rewriting Clip (1)",)
