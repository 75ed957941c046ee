from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_detectors import FAMILIES, KEYPOINTS, picture, tiny_detector, torch

from lth_deploy.compiler.capture import capture
from lth_deploy.compiler.fold_norm import fold_norm
from lth_deploy.detectors.exportable import ExportableDetector
from lth_deploy.detectors.groups import prunable_modules
from lth_deploy.detectors.inference import predict
from lth_deploy.errors import UsageError

SIZES = ((64, 80), (110, 60), (150, 210))
# Below this the family gives no detection on a black picture, above it several on a colourful one.
OUTPUTS = {"mask_rcnn": ("masks",), "keypoint_rcnn": ("keypoints",)}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[str, Any, onnx.ModelProto]:
    """Name, folded model and its graph; an export takes seconds, so all tests of a family share it."""
    threshold = 0.3 if request.param in ("retinanet", "fcos") else 0.25
    model = fold_norm(tiny_detector(request.param, score_threshold=threshold)).module
    return request.param, model, capture(ExportableDetector(model), picture(64, 96))


def test_graph_and_torch_agree_at_every_size(family: tuple[str, Any, onnx.ModelProto]) -> None:
    name, model, graph = family
    seen = 0
    for height, width in SIZES:
        image = picture(height, width, seed=height)
        outputs, expected = _run(graph, image), predict(model, [image])[0]
        seen += len(expected)
        np.testing.assert_array_equal(outputs["labels"], expected.labels)
        np.testing.assert_allclose(outputs["boxes"], expected.boxes, atol=1e-2)
        np.testing.assert_allclose(outputs["scores"], expected.scores, atol=1e-4)
        if expected.masks is not None:
            assert outputs["masks"].shape == (len(expected), height, width)
            np.testing.assert_allclose(outputs["masks"], expected.masks, atol=1e-3)
        if expected.keypoints is not None:
            assert outputs["keypoints"].shape == (len(expected), KEYPOINTS, 3)
            np.testing.assert_allclose(outputs["keypoints"], expected.keypoints, atol=5e-2)
    assert seen > 0, "nothing was compared"


def test_no_detection_gives_empty_outputs(family: tuple[str, Any, onnx.ModelProto]) -> None:
    name, model, _ = family
    strict = fold_norm(tiny_detector(name, score_threshold=0.99999)).module
    image = picture(70, 100)
    graph = capture(ExportableDetector(strict), picture(64, 96))
    outputs = _run(graph, image)
    assert outputs["boxes"].shape == (0, 4)
    assert outputs["scores"].shape == outputs["labels"].shape == (0,)
    assert name != "mask_rcnn" or outputs["masks"].shape == (0, 70, 100)
    assert name != "keypoint_rcnn" or outputs["keypoints"].shape == (0, KEYPOINTS, 3)


def test_signature_is_the_documented_one(family: tuple[str, Any, onnx.ModelProto]) -> None:
    name, _, graph = family
    assert [value.name for value in graph.graph.input] == ["image"]
    image = graph.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [axis.dim_param or axis.dim_value for axis in image.shape.dim] == ["height", "width", 3]
    types = [(value.name, value.type.tensor_type.elem_type) for value in graph.graph.output]
    expected = [("boxes", onnx.TensorProto.FLOAT), ("scores", onnx.TensorProto.FLOAT)]
    expected += [("labels", onnx.TensorProto.INT64)]
    expected += [(extra, onnx.TensorProto.FLOAT) for extra in OUTPUTS.get(name, ())]
    assert types == expected
    assert {entry.domain: entry.version for entry in graph.opset_import} == {"": 18}


def test_initializers_carry_the_parameters_under_their_names(
    family: tuple[str, Any, onnx.ModelProto],
) -> None:
    _, model, graph = family
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    for name, layer in prunable_modules(model).items():
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


def _run(graph: onnx.ModelProto, image: Any) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": image}), strict=True))
