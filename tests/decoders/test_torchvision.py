"""torchvision's own detections of an SSDLite, beside those of its ONNX file that no flag explains."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from lth_deploy.workflow.artifact import open_artifact
from tests.decoders.models import photo

torch = pytest.importorskip("torch")
detection = pytest.importorskip("torchvision.models.detection")

NAMES = "['__background__', 'cell', 'dust']"


@pytest.fixture(scope="module")
def model() -> "torch.nn.Module":
    """SSDLite as torchvision builds it, without trained weights."""
    torch.manual_seed(0)
    built = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.2, detections_per_img=50
    )
    for weights in built.parameters():  # fresh ones score every box the same
        if weights.ndim == 4:
            torch.nn.init.kaiming_normal_(weights, nonlinearity="relu")
    return built.eval()


@pytest.fixture(scope="module")
def file(model: "torch.nn.Module", tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssdlite") / "ssdlite.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            ([torch.rand(3, 320, 320)],),
            path,
            dynamo=False,
            input_names=["images"],
            output_names=["boxes", "scores", "labels"],
        )
    proto = onnx.load(path)
    proto.metadata_props.add(key="names", value=NAMES)
    onnx.save(proto, path)
    return path


def test_ssdlite_is_decoded_as_torchvision_does(model: "torch.nn.Module", file: Path) -> None:
    opened = open_artifact(file, threads=1)
    assert opened.file.class_names == ("cell", "dust")
    image = photo(320, 320)
    with torch.no_grad():
        (expected,) = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255])
    found = opened.predict(image)
    boxes = expected["boxes"].numpy()
    solid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))  # others lie outside, clipped to nothing
    assert len(found) == len(solid) > 10
    assert found.scores == pytest.approx(expected["scores"].numpy()[solid], abs=1e-4)
    assert np.abs(found.boxes - boxes[solid]).max() < 0.05
    assert (found.labels == expected["labels"].numpy()[solid]).all()


def test_ssdlite_of_another_size_of_image_is_stretched(file: Path) -> None:
    opened = open_artifact(file, threads=1)
    small = photo(160, 320)
    large = np.repeat(small, 2, axis=0)
    found, expected = opened.predict(small), opened.predict(large)
    assert found.boxes[:, ::2].max() <= 320
    assert found.boxes[:, 1::2].max() <= 160
    assert len(found) > 10
    assert len(expected) > 10
