from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lth_deploy.compiler.model.capture import TracedNames, capture
from lth_deploy.detections import Detections
from lth_deploy.detectors.exportable import ExportableDetector
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.groups import prunable_modules
from lth_deploy.detectors.inference import predict
from lth_deploy.errors import UsageError
from tests.tiny_detectors import FAMILIES, KEYPOINTS, picture, tiny_detector, torch

OUTPUTS = {"mask_rcnn": ("masks",), "keypoint_rcnn": ("keypoints",)}
# Of six images of three sizes, the one with the weakest detection.
PICTURES = [picture(*size, seed) for seed in range(2) for size in ((64, 80), (110, 60), (150, 210))]


@dataclass(frozen=True)
class Family:
    """A folded detector, its graph, images in which it finds objects, and one in which it finds none."""

    name: str
    model: Any
    graph: onnx.ModelProto
    full: list[Any]
    empty: Any


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    """An export takes seconds, so all tests of a family share one."""
    model = fold_norm(tiny_detector(request.param)).module
    best = [float(predict(model, [image])[0].scores[0]) for image in PICTURES]
    weakest, second = np.argsort(best)[:2]
    assert best[second] - best[weakest] > 1e-4, "too close to call"
    owner = model.roi_heads if hasattr(model, "roi_heads") else model
    owner.score_thresh = (best[weakest] + best[second]) / 2
    full = [image for index, image in enumerate(PICTURES) if index != weakest]
    graph = capture(ExportableDetector(model), picture(64, 96))
    return Family(request.param, model, graph, full, PICTURES[weakest])


def test_graph_and_torch_agree_at_every_size(family: Family) -> None:
    for image in family.full:
        outputs, expected = _run(family.graph, image), predict(family.model, [image])[0]
        assert len(expected) > 0
        assert outputs["scores"].shape == expected.scores.shape
        found = _match(outputs, expected)
        np.testing.assert_allclose(outputs["boxes"][found], expected.boxes, atol=5e-2)
        np.testing.assert_allclose(outputs["scores"][found], expected.scores, atol=1e-3)
        if expected.masks is not None:
            np.testing.assert_allclose(outputs["masks"][found], expected.masks, atol=2e-2)
        if expected.keypoints is not None:
            np.testing.assert_allclose(outputs["keypoints"][found], expected.keypoints, atol=5e-2)


def test_no_detection_gives_empty_outputs(family: Family) -> None:
    outputs = _run(family.graph, family.empty)
    assert outputs["boxes"].shape == (0, 4)
    assert outputs["scores"].shape == outputs["labels"].shape == (0,)
    assert family.name != "mask_rcnn" or outputs["masks"].shape == (0, *family.empty.shape[:2])
    assert family.name != "keypoint_rcnn" or outputs["keypoints"].shape == (0, KEYPOINTS, 3)


def test_signature_is_the_documented_one(family: Family) -> None:
    graph = family.graph
    assert [value.name for value in graph.graph.input] == ["image"]
    image = graph.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [axis.dim_param or axis.dim_value for axis in image.shape.dim] == ["height", "width", 3]
    types = [(value.name, value.type.tensor_type.elem_type) for value in graph.graph.output]
    expected = [("boxes", onnx.TensorProto.FLOAT), ("scores", onnx.TensorProto.FLOAT)]
    expected += [("labels", onnx.TensorProto.INT64)]
    expected += [(extra, onnx.TensorProto.FLOAT) for extra in OUTPUTS.get(family.name, ())]
    assert types == expected
    assert {entry.domain: entry.version for entry in graph.opset_import} == {"": 18}


def test_initializers_carry_the_parameters_under_their_names(
    family: Family,
) -> None:
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in family.graph.graph.initializer}
    for name, layer in prunable_modules(family.model).items():
        np.testing.assert_array_equal(stored[f"{name}.weight"], layer.weight.detach().numpy())
        np.testing.assert_array_equal(stored[f"{name}.bias"], layer.bias.detach().numpy())


def test_equal_weights_of_two_layers_stay_two_initializers() -> None:
    model = fold_norm(tiny_detector("retinanet")).module
    blocks = model.backbone.fpn.layer_blocks
    blocks[0][0].load_state_dict(blocks[1][0].state_dict())
    graph = capture(ExportableDetector(model), picture(64, 96))
    names = {tensor.name for tensor in graph.graph.initializer}
    assert {f"backbone.fpn.layer_blocks.{level}.0.weight" for level in (0, 1)} <= names


def test_training_state_is_left_alone() -> None:
    model = tiny_detector("faster_rcnn").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    capture(ExportableDetector(model), picture(64, 80))
    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("sample", [np.zeros((64, 80, 4), np.uint8), np.zeros((64, 80, 3), np.float32)])
def test_only_a_picture_is_a_sample(sample: Any) -> None:
    with pytest.raises(UsageError, match="uint8"):
        capture(torch.nn.Identity(), sample)


def _match(outputs: dict[str, Any], expected: Detections) -> Any:
    """For each expected detection the position of the nearest output of its class; each is used once."""
    distance = np.abs(outputs["boxes"][None] - expected.boxes[:, None]).max(axis=2)
    distance += 1e3 * np.abs(outputs["scores"][None] - expected.scores[:, None])
    distance += 1e6 * (outputs["labels"][None] != expected.labels[:, None])
    nearest = distance.argmin(axis=1)
    assert len(set(nearest)) == len(nearest)
    return nearest


def _run(graph: onnx.ModelProto, image: Any) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": image}), strict=True))


class _Places(torch.nn.Module):
    """Adds the middles of columns to an image, as reference points of deformable attention are made."""

    def forward(self, pixels: Any) -> Any:
        columns = pixels.shape[-1]
        return pixels + torch.linspace(0.5, columns - 0.5, columns, dtype=pixels.dtype)


@pytest.mark.parametrize("traced", [1, 4])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_evenly_spaced_numbers_may_be_a_single_one(traced: int, columns: int) -> None:
    names = TracedNames("pixels", ("places",), {"pixels": {1: "columns"}})
    graph = capture(_Places(), np.zeros((3, traced), np.float32), names=names)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    places = session.run(None, {"pixels": np.zeros((3, columns), np.float32)})[0]
    np.testing.assert_allclose(places, np.tile(np.arange(columns) + 0.5, (3, 1)), rtol=1e-6)
