"""Means of bins (DFL) as exporters write them: on planes, level by level, after import."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.importing.plain import axis_parts
from lth_deploy.compiler.importing.plain.bins import FORM
from tests.compiler.importing.node_cases import as_model
from tests.compiler.importing.plain_models import imported_alike, operators

N = helper.make_node
RNG = np.random.default_rng(5)
LEVELS = {"a": (2, 48, 6, 8), "b": (2, 48, 3, 4)}
FEEDS = {name: 3 * RNG.standard_normal(shape).astype(np.float32) for name, shape in LEVELS.items()}
BINS = 8
"""Of 32 channels of boxes; 16 more are those of classes."""

CONSTANTS = {
    "flat": np.array([2, 48, -1]),
    "two": np.array([32, 16]),
    "sides": np.array([2, 4, BINS, 60]),
    "distances": np.array([2, 4, 60]),
    "conv": np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1),
    "vector": np.arange(BINS, dtype=np.float32),
    "column": np.arange(BINS, dtype=np.float32).reshape(1, 1, BINS, 1),
    "axis2": np.array([2]),
    "last": np.array([-1]),
}


def made(nodes: list[Any], outputs: list[str], **others: np.ndarray) -> ModelProto:
    read = {name for node in nodes for name in node.input}
    constants = {name: value for name, value in {**CONSTANTS, **others}.items() if name in read}
    return as_model(nodes, {name: value for name, value in FEEDS.items() if name in read}, outputs, 17, **constants)


def joined() -> list[Any]:
    """ultralytics: levels are joined, then boxes and classes cut apart."""
    return [
        N("Reshape", ["a", "flat"], ["fa"]),
        N("Reshape", ["b", "flat"], ["fb"]),
        N("Concat", ["fa", "fb"], ["all"], axis=2),
        N("Split", ["all", "two"], ["boxes", "classes"], axis=1),
    ]


def ultralytics() -> ModelProto:
    return made(
        [
            *joined(),
            N("Reshape", ["boxes", "sides"], ["r"]),
            N("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
            N("Softmax", ["t"], ["p"], axis=1),
            N("Conv", ["p", "conv"], ["c"]),
            N("Reshape", ["c", "distances"], ["y"]),
        ],
        ["y", "classes"],
    )


def cut_apart_first() -> ModelProto:
    """libreyolo's YOLOv9: each level is joined and cut apart again, then levels are joined."""
    nodes = []
    for level in "ab":
        nodes += [
            N("Slice", [level, "zero", "box", "one"], [f"{level}.box"]),
            N("Slice", [level, "box", "end", "one"], [f"{level}.class"]),
            N("Concat", [f"{level}.box", f"{level}.class"], [f"{level}.both"], axis=1),
            N("Reshape", [f"{level}.both", "flat"], [f"{level}.flat"]),
            N("Split", [f"{level}.flat", "two"], [f"{level}.boxes", f"{level}.classes"], axis=1),
        ]
    nodes += [
        N("Concat", ["a.boxes", "b.boxes"], ["boxes"], axis=2),
        N("Reshape", ["boxes", "sides"], ["r"]),
        N("Softmax", ["r"], ["p"], axis=2),
        N("Mul", ["column", "p"], ["m"]),
        N("ReduceSum", ["m", "axis2"], ["y"], keepdims=0),
        N("Concat", ["a.classes", "b.classes"], ["z"], axis=2),
    ]
    numbers = {"zero": np.array([0]), "box": np.array([32]), "end": np.array([48]), "one": np.array([1])}
    return made(nodes, ["y", "z"], **numbers)


def level_by_level(sum_: str) -> ModelProto:
    """GFL, NanoDet, PicoDet: the softmax is over the last axis."""
    ends = {
        "product": [N("MatMul", ["p", "vector"], ["y"])],
        "sum": [N("Mul", ["p", "vector"], ["m"]), N("ReduceSum", ["m", "last"], ["y"], keepdims=0)],
    }
    nodes = [
        N("Split", ["a", "two"], ["boxes", "classes"], axis=1),
        N("Transpose", ["boxes"], ["t"], perm=[0, 2, 3, 1]),
        N("Reshape", ["t", "rows"], ["r"]),
        N("Reshape", ["r", "bins"], ["s"]),
        N("Softmax", ["s"], ["p"], axis=-1),
        *ends[sum_],
    ]
    return made(nodes, ["y", "classes"], rows=np.array([2, 48, 32]), bins=np.array([2, 48, 4, BINS]))


def paddle() -> ModelProto:
    """PP-YOLOE: bins become channels by way of a transposition, and the plane is flat."""
    nodes = [
        N("Split", ["a", "two"], ["boxes", "classes"], axis=1),
        N("Reshape", ["boxes", "level"], ["r"]),
        N("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        N("Softmax", ["t"], ["p"], axis=1),
        N("Conv", ["p", "conv"], ["y"]),
    ]
    return made(nodes, ["y", "classes"], level=np.array([2, 4, BINS, 48]))


MODELS: dict[str, tuple[Callable[[], ModelProto], int]] = {
    "joined levels": (ultralytics, 2),
    "cut apart before levels are joined": (cut_apart_first, 2),
    "a product with a vector": (lambda: level_by_level("product"), 1),
    "products and a sum": (lambda: level_by_level("sum"), 1),
    "a transposed distribution": (paddle, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_level_gets_the_form_that_regions_know(name: str) -> None:
    build, levels = MODELS[name]
    model = build()
    read = {value.name for value in model.graph.input}
    imported = imported_alike(model, {key: value for key, value in FEEDS.items() if key in read})
    assert "computed 1 means of bins (DFL) on planes, level by level" in imported.notes
    found = operators(imported)
    starts = [i for i in range(len(found)) if tuple(found[i : i + len(FORM)]) == FORM]
    assert len(starts) == levels
    assert found.count("Softmax") == levels
    assert not {"Conv", "Mul", "ReduceSum"} & set(found)


def test_what_was_joined_for_a_split_alone_is_no_longer_joined() -> None:
    found = operators(import_model(cut_apart_first()))
    assert "Split" not in found
    assert found.count("Concat") == len(("boxes", "classes"))


def test_a_part_of_a_plane_is_cut_out_of_it() -> None:
    imported = import_model(ultralytics())
    (first, *_) = [node for node in imported.normalized.proto.graph.node if node.op_type == "Transpose"]
    assert {node.output[0]: node.op_type for node in imported.normalized.proto.graph.node}[first.input[0]] == "Slice"


def wrong(change: Callable[[ModelProto], None]) -> ModelProto:
    model = ultralytics()
    change(model)
    return model


def _probabilities_are_returned(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("p", 1, None))


def _over_sides(model: ModelProto) -> None:
    """The Softmax is over the four sides, of which the convolution takes as many."""
    del model.graph.node[5]
    model.graph.node[5].input[0] = "r"
    conv = next(one for one in model.graph.initializer if one.name == "conv")
    conv.CopyFrom(helper.make_tensor("conv", 1, [1, 4, 1, 1], [0.0, 1, 2, 3]))
    shape = next(one for one in model.graph.initializer if one.name == "distances")
    shape.CopyFrom(helper.make_tensor("distances", 7, [3], [2, BINS, 60]))


def _open_sizes(model: ModelProto) -> None:
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[2].dim_param = f"{value.name}.h"


def _joined_twice(model: ModelProto) -> None:
    """Levels are joined once: a file that joins a tensor with itself over and over has 2^n of them."""
    model.graph.node.insert(2, N("Concat", ["fa"], ["inner"], axis=2))
    model.graph.node[3].input[0] = "inner"


@pytest.mark.parametrize("change", [_probabilities_are_returned, _over_sides, _open_sizes, _joined_twice])
def test_others_stay(change: Callable[[ModelProto], None]) -> None:
    imported = imported_alike(wrong(change), FEEDS)
    assert not any("means of bins" in note for note in imported.notes)


def test_axes_are_followed_through_reshapes_and_orders() -> None:
    sizes = (2, 12, 5)
    axes = axis_parts.reshaped(axis_parts.whole(sizes), (2, 3, 4, 5))
    assert axes is not None
    assert [[(part.axis, part.stride, part.size) for part in parts] for parts in axes] == [
        [(0, 1, 2)],
        [(1, 4, 3)],
        [(1, 1, 4)],
        [(2, 1, 5)],
    ]
    assert axis_parts.order_of(axes, sizes) == [0, 1, 2]
    assert axis_parts.order_of([axes[3], axes[1], axes[2], axes[0]], sizes) == [2, 1, 0]
    assert axis_parts.order_of([axes[0], axes[2], axes[1], axes[3]], sizes) is None
    assert axis_parts.reshaped(axis_parts.whole(sizes), (3, 8, 5)) is None
    assert axis_parts.reshaped(axis_parts.whole((1, 6)), (6, 1, 1)) is not None
