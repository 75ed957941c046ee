"""One-shot pruning of ONNX models from calibration images: exact counts, better outputs, and refusals."""

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.one_shot.magnitude import prune_onnx
from lth_deploy.compiler.one_shot.reconstruct import OneShot
from lth_deploy.errors import DataError, UsageError
from lth_deploy.structures import BLOCKS
from tests.compiler.onnx_models import Array, detector, image, initializers, run

FEEDS = [image(seed) for seed in range(8)]


def _with_smooth_inputs() -> list[dict[str, Array]]:
    """Pictures whose neighboring pixels and colors agree, as in photos: correlated inputs are what OBS lives on."""
    found = []
    for feed in FEEDS:
        x = feed["image"].cumsum(axis=2).cumsum(axis=3)
        found.append({"image": (x / np.abs(x).max()).astype(np.float32)})
    return found


def _output_error(model: ModelProto, pruned: ModelProto, feeds: list[dict[str, Array]], name: str) -> float:
    pairs = [(run(model, feed)[name], run(pruned, feed)[name]) for feed in feeds]
    return float(np.sqrt(sum(np.square(a - b).sum() for a, b in pairs) / sum(np.square(a).sum() for a, _ in pairs)))


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.7])
def test_exactly_k_weights_are_zero_in_every_kind_of_layer(sparsity: float) -> None:
    pruned, report = OneShot(normalize(detector(0.0, width=8)), FEEDS).prune(sparsity)
    layers = weight_layers(pruned.proto)
    assert set(report.pruned) == {layer.name for layer in layers}
    elements = sum(layer.elements for layer in layers)
    assert sum(layer.zeros for layer in layers) == report.zeros == round(sparsity * elements)


def test_what_was_zero_stays_zero() -> None:
    model = detector(0.4, width=8)
    pruned = initializers(OneShot(normalize(model), FEEDS).prune(0.6)[0].proto)
    for name, weights in initializers(model).items():
        if name.endswith("weight"):
            assert not pruned[name][weights == 0].any()


def test_outputs_change_less_than_by_magnitude() -> None:
    model, feeds = detector(0.0, width=16), _with_smooth_inputs()
    pruned, report = OneShot(normalize(model), feeds).prune(0.5)
    by_magnitude = prune_onnx(normalize(model), 0.5)[0]
    assert _output_error(model, pruned.proto, feeds, "f") < 0.5 * _output_error(model, by_magnitude.proto, feeds, "f")
    assert all(loss.error < loss.magnitude_error for loss in report.losses.values() if loss.zeros)


def test_the_reported_error_is_that_of_the_layer_itself() -> None:
    """One Conv with a bias that all positions of all feeds reach: the report against ONNX Runtime's own outputs."""
    rng = np.random.default_rng(3)
    tensors = {"w": rng.standard_normal((6, 4, 3, 3)), "b": rng.standard_normal(6)}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", strides=[2, 1], pads=[1, 0, 1, 2], dilations=[1, 2])],
        "conv",
        [helper.make_tensor_value_info("x", 1, [1, 4, 9, 11])],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    feeds = [{"x": rng.standard_normal((1, 4, 9, 11)).astype(np.float32)} for _ in range(6)]
    pruned, report = OneShot(normalize(model), feeds).prune(0.5)
    assert report.losses["w"].error == pytest.approx(_output_error(model, pruned.proto, feeds, "y"), rel=1e-3)


def test_results_repeat() -> None:
    first, second = (OneShot(normalize(detector(0.0, width=8)), FEEDS).prune(0.5)[0] for _ in range(2))
    assert first == second


def test_one_calibration_serves_all_levels() -> None:
    one_shot = OneShot(normalize(detector(0.0, width=8)), FEEDS)
    one_shot.prune(0.7)
    fresh = OneShot(normalize(detector(0.0, width=8)), FEEDS).prune(0.4)[0]
    assert one_shot.prune(0.4)[0] == fresh


def test_quads_fall_as_a_whole() -> None:
    pruned, report = OneShot(normalize(detector(0.0, width=8)), FEEDS, structure="in4").prune(0.5)
    weights = initializers(pruned.proto)["shared.weight"]
    quads = np.count_nonzero(weights.reshape(8, 2, 4, 9), axis=2)
    assert set(np.unique(quads)) <= {0, 4}
    assert 0.5 <= report.sparsity < 0.52


@pytest.mark.parametrize("structure", ["16x4", "32x4"])
def test_coarse_blocks_leave_every_group_of_outputs_one(structure: str) -> None:
    block = BLOCKS[structure]
    pruned, report = OneShot(normalize(detector(0.0, width=64)), FEEDS, structure=structure).prune(0.7)
    weights = initializers(pruned.proto)["shared.weight"]
    kept = np.count_nonzero(weights.reshape(64 // block.outputs, block.outputs, 16, 4, 9), axis=(1, 3))
    assert set(np.unique(kept)) <= {0, block.size}
    assert (kept.reshape(len(kept), -1).max(axis=1) == block.size).all()
    assert 0.7 <= report.sparsity < 0.75
    with pytest.raises(UsageError, match="one stays for each group of outputs"):
        OneShot(normalize(detector(0.0, width=8)), FEEDS, structure=structure).prune(0.9)


def test_two_of_four_inputs_stay() -> None:
    pruned, _ = OneShot(normalize(detector(0.0, width=8)), FEEDS, structure="2:4").prune(0.5)
    weights = initializers(pruned.proto)["shared.weight"]
    assert (np.count_nonzero(weights.reshape(8, 2, 4, 9), axis=2) == 2).all()


def test_excluded_layers_keep_weights_and_bias() -> None:
    model = detector(0.0, width=8)
    pruned, report = OneShot(normalize(model), FEEDS, exclude=["gemm.*"]).prune(0.5)
    for name in ("gemm.weight", "gemm.bias"):
        assert np.array_equal(initializers(pruned.proto)[name], initializers(model)[name])
    assert "excluded" in report.left["gemm.weight"]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([], "no images"),
        ([FEEDS[0]] * 4, "all alike"),
        ([{"image": np.full((1, 3, 12, 10), v, np.float32)} for v in (0.0, 1.0)], "one color"),
        ([{"image": np.where(f["image"] > 2, np.inf, f["image"]).astype(np.float32)} for f in FEEDS], "not finite"),
    ],
)
def test_images_that_say_nothing_are_refused(feeds: list[dict[str, Array]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        OneShot(normalize(detector(0.0, width=8)), feeds)


def test_more_zeros_than_layers_can_take_are_refused() -> None:
    with pytest.raises(UsageError, match="leaves each layer"):
        OneShot(normalize(detector(0.0, width=8)), FEEDS).prune(0.99)
