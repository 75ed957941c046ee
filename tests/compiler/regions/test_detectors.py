"""Regions of whole detectors: how few there are, and that a stock runtime makes the same bits."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.magnitude import prune_onnx
from tests.compiler.regions.region_graphs import assert_programs, assert_same, optimized, regions_of, run

# Regions and layers inside them: pyramid with dense heads; box head; mask head. The average behind a box head that is
# layer4 has no instruction, so the predictors stand alone.
EXPECTED = {"retinanet": [78], "faster_rcnn": [43, 4], "faster_rcnn/c4": [18, 5, 1, 1], "mask_rcnn": [43, 4, 6]}


def _pruned_uniformly(model: NormalizedModel, zeros: float = 0.8) -> NormalizedModel:
    rng = np.random.default_rng(0)
    pruned = {}
    for layer in weight_layers(model.proto):
        if layer.obstacle is None:
            weights = layer.stored.weights().copy()
            weights[rng.random(weights.shape) < zeros] = 0
            pruned[layer.name] = weights
    return model.with_tensors(pruned)


@pytest.fixture(scope="module", params=list(EXPECTED))
def detector(request: pytest.FixtureRequest) -> tuple[str, NormalizedModel]:
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    from lth_deploy.compiler.model.capture import capture
    from lth_deploy.detectors.exportable import ExportableDetector
    from lth_deploy.detectors.fold_norm import fold_norm
    from tests.tiny_detectors import picture, tiny_detector

    name = str(request.param)
    folded = fold_norm(tiny_detector(name, norm="batch").eval())
    return name, normalize(capture(ExportableDetector(folded.module), picture(64, 96)))


def test_a_torchvision_detector_becomes_one_region_a_stage(detector: tuple[str, NormalizedModel]) -> None:
    name, model = detector
    packed, built, plan = regions_of(_pruned_uniformly(model).proto, least=0.3)
    assert [len(region.nodes) for region in plan.regions] == EXPECTED[name]
    for shape in ((96, 64, 3), (71, 93, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert_same(packed, built, {"image": image})


def test_nanodet_lands_in_one_region(shared_data: Path) -> None:
    model, _ = prune_onnx(normalize(load_model(shared_data / "models" / "nanodet_g_416.onnx")), 0.8)
    packed, built, plan = regions_of(_pruned_uniformly(model).proto, least=0.3)
    assert sum(len(region.nodes) for region in plan.regions) == 34
    assert len(plan.regions) == 1
    feeds = {"images": np.random.default_rng(0).standard_normal((1, 3, 416, 416)).astype(np.float32)}
    assert_same(packed, built, feeds)
    assert_programs(built, feeds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "regions", "least"), [("retinanet", 1, 31), ("faster_rcnn", 2, 31), ("faster_rcnn/c4", 3, 21)]
)
def test_quantized_detectors_are_as_few_regions_and_stay_quantized(
    name: str, regions: int, least: int, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    from lth_deploy.compiler.model.capture import capture
    from lth_deploy.compiler.quantization.quantize_ticket import quantize
    from lth_deploy.config.target import Target
    from lth_deploy.detectors.exportable import ExportableDetector
    from lth_deploy.detectors.fold_norm import fold_norm
    from tests.tiny_detectors import picture, tiny_detector

    module = ExportableDetector(fold_norm(tiny_detector(name)).module)
    floats = _pruned_uniformly(normalize(capture(module, picture(64, 80))))
    made = quantize(floats, [{"image": picture(64, 80, seed)} for seed in range(3)], Target(values="int8"))
    packed, built, plan = regions_of(made.model.proto, least=0.0)
    assert len(plan.regions) == regions, plan.outside
    assert sum(len(region.weights) for region in plan.regions) == len(made.errors)
    feeds = {"image": picture(72, 60)}
    for a, b in zip(run(packed, feeds), run(built, feeds), strict=True):
        assert np.array_equal(a, b)
    assert optimized(built, tmp_path)["QLinearConv"] == optimized(made.model.proto, tmp_path)["QLinearConv"] >= least
