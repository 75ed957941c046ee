"""Artifacts are opened, scored and drawn through one path, whatever engine runs them."""

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lth_deploy.errors import ArtifactError, DataError, UsageError
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.workflow.artifact import find_artifact, open_artifact
from lth_deploy.workflow.evaluate import evaluate, map_labels
from lth_deploy.workflow.predict import predict
from tests.tiny_artifact import CLASSES, save_data, save_decoder, save_tiny

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the openvino extra is not installed"
)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_a_detector_that_knows_the_boxes_has_ap_one_on_every_engine(engine: str, tmp_path: Path) -> None:
    data, images = save_data(tmp_path)
    result = evaluate(
        save_tiny(tmp_path / "tiny.onnx"),
        data,
        images,
        engine=engine,
        threads=1,
        decoder=save_decoder(tmp_path),
    )
    assert result.ap.metrics["bbox"]["AP"] == pytest.approx(1.0)
    assert list(result.ap.metrics) == ["bbox"]
    assert result.engine["name"] == engine
    assert result.ap.n_images == 4


def test_limit_takes_the_first_images_and_displaced_boxes_lose_ap(tmp_path: Path) -> None:
    data, images = save_data(tmp_path)
    model = save_tiny(tmp_path / "tiny.onnx", shift=4.0)
    result = evaluate(model, data, images, decoder=save_decoder(tmp_path), limit=2)
    assert result.ap.n_images == 2
    assert result.ap.metrics["bbox"]["AP"] < 0.9


def test_a_file_without_metadata_needs_names_and_a_named_decoder_is_checked(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "tiny.onnx")
    data, images = save_data(tmp_path)
    assert open_artifact(model).predict(np.zeros((64, 64, 3), np.uint8)).labels.tolist() in ([1, 2], [2, 1])
    with pytest.raises(DataError, match="does not say what its labels mean"):
        evaluate(model, data, images)
    with pytest.raises(UsageError, match="unknown decoder"):
        open_artifact(model, decoder="yolo10")


def test_a_decoder_of_another_model_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"decoder 'nanodet' takes cls.* the model has 'boxes' float32 \[2, 4\]"):
        open_artifact(save_tiny(tmp_path / "tiny.onnx"), decoder="nanodet")


def test_labels_are_matched_by_name_not_by_number() -> None:
    mapping = map_labels(["dust", "moon", "cell"], ["cell", "dust", "sun"])
    found = CompactDetections(
        np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(3, np.float32), np.array([1, 2, 3])
    )
    mapped = mapping.apply(found)
    assert mapped.labels.tolist() == [2, 1]
    assert mapped.boxes[1].tolist() == [8, 9, 10, 11]
    assert ["moon" in mapping.notes[0], "sun" in mapping.notes[1]] == [True, True]
    assert len(mapping.notes) == 2


def test_classes_that_cannot_be_matched_are_refused() -> None:
    for model, words in [((), "does not say"), (("a", "a"), "same name"), (("moon",), "none in common")]:
        with pytest.raises(DataError, match=words):
            map_labels(model, CLASSES)
    one = CompactDetections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.array([3]))
    with pytest.raises(DataError, match=r"labels 3\.\.3"):
        map_labels(CLASSES, CLASSES).apply(one)


def test_run_directories_give_their_one_packed_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    with pytest.raises(UsageError, match="lth-deploy export"):
        find_artifact(run)
    (run / "export" / "dense.onnx").touch()
    packed = run / "export" / "level_80.onnx"
    packed.touch()
    assert find_artifact(run) == find_artifact(packed) == packed
    (run / "export" / "level_90.onnx").touch()
    with pytest.raises(UsageError, match=r"level_80\.onnx, level_90\.onnx"):
        find_artifact(run)
    with pytest.raises(ArtifactError, match="no such file"):
        find_artifact(tmp_path / "nothing")


def test_predict_draws_every_image_once_even_with_equal_names(tmp_path: Path) -> None:
    _, images = save_data(tmp_path, images=2)
    other = tmp_path / "other" / "1.png"
    other.parent.mkdir()
    Image.new("RGB", (70, 60)).save(other)
    given = [images / "1.png", images / "2.png", other]
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    predictions = predict(model, given, tmp_path / "out", threshold=0.1, decoder=decoder)
    assert [one.picture.name for one in predictions] == ["1.png", "2.png", "1-2.png"]
    for one in predictions:
        with Image.open(one.image) as before, Image.open(one.picture) as after:
            assert before.size == after.size
            assert before.convert("RGB").tobytes() != after.convert("RGB").tobytes()
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [len(row["objects"]) for row in rows] == [2, 2, 2]
    assert {entry["class"] for entry in rows[0]["objects"]} == set(CLASSES)


def test_predict_says_how_many_detections_are_not_drawn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, images = save_data(tmp_path, images=2)
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    caplog.set_level(logging.INFO, "lth_deploy.workflow.predict")
    found = predict(model, sorted(images.iterdir()), tmp_path / "all", threshold=0.0, decoder=decoder)
    assert caplog.messages[-1] == "4 of 4 detections score 0 or more and are drawn"
    best = max(float(one.detections.scores.max()) for one in found)
    threshold = min(1.0, best + 0.01)
    predict(model, sorted(images.iterdir()), tmp_path / "none", threshold=threshold, decoder=decoder)
    assert caplog.messages[-1].startswith(f"0 of 4 detections score {threshold:g} or more and are drawn; --threshold")
    assert caplog.messages[-1].endswith(f"the best with {best:.2f}")


def test_predict_refuses_nothing_to_do_and_broken_images(tmp_path: Path) -> None:
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    with pytest.raises(UsageError, match="no images"):
        predict(model, [], tmp_path, decoder=decoder)
    with pytest.raises(UsageError, match="threshold"):
        predict(model, [tmp_path / "x.png"], tmp_path, threshold=1.5, decoder=decoder)
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(DataError, match=r"x\.png"):
        predict(model, [tmp_path / "x.png"], tmp_path, decoder=decoder)


def test_nanodet_finds_objects_on_real_photos(shared_data: Path) -> None:
    """On all 128 photos its AP is 0.335; the first 12 are scored here to save time."""
    root = shared_data / "data" / "coco128"
    images = next(path.parent for path in root.rglob("*.jpg"))
    result = evaluate(
        shared_data / "models" / "nanodet_g_416.onnx",
        root / "annotations" / "instances.json",
        images,
        threads=1,
        limit=12,
    )
    assert result.ap.metrics["bbox"]["AP"] > 0.30


def test_yolox_is_decoded_without_a_word(shared_data: Path) -> None:
    """On all 128 photos its AP is 0.340; the first 16 are scored here to save time."""
    root = shared_data / "data" / "coco128"
    model = shared_data / "models" / "yolox_nano.onnx"
    result = evaluate(model, root / "annotations" / "instances.json", root / "images", threads=1, limit=16)
    assert result.ap.metrics["bbox"]["AP"] > 0.30
