"""A YOLO with its exporter's metadata goes through every verb without a decoder being named."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lth_deploy.compiler.artifact.metadata import read_metadata
from tests.cli.running import Cli

CELLS = 84
BOXES = ((4, 6, 24, 30), (30, 10, 60, 50))
PROPERTIES = {
    "author": "Ultralytics",
    "task": "detect",
    "stride": "32",
    "imgsz": "[64, 64]",
    "names": "{0: 'cell', 1: 'dust'}",
}


def save_yolo(path: Path, **properties: str) -> Path:
    """Boxes at fixed places; their scores come from the image through two convolutions."""
    generator = np.random.default_rng(0)
    boxes, mask = np.zeros((1, 4, CELLS), np.float32), np.zeros((1, 2, CELLS), np.float32)
    for cell, (x1, y1, x2, y2) in enumerate(BOXES):
        boxes[0, :, cell] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        mask[0, cell, cell] = 1
    constants = {
        "first.weight": generator.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32),
        "second.weight": generator.normal(0, 0.1, (1, 16, 3, 3)).astype(np.float32),
        "boxes": boxes,
        "mask": mask,
        "three": np.array([1, 1, 1]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "first.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["e"]),
        helper.make_node("Reshape", ["e", "three"], ["f"]),
        helper.make_node("Mul", ["mask", "f"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 6, "anchors"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in {**PROPERTIES, **properties}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def save_images(folder: Path, names: tuple[str, str] = ("cell", "dust")) -> tuple[Path, Path]:
    """Images of another size than the model's, with an object at each of BOXES; category ids have a gap."""
    (folder / "images").mkdir()
    records, annotations = [], []
    for number in (1, 2, 3):
        pixels = np.random.default_rng(number).integers(0, 255, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        records.append({"id": number, "file_name": f"{number}.png", "width": 128, "height": 128})
        for category, (x1, y1, x2, y2) in zip((90, 7), BOXES, strict=True):
            box = [2 * x1, 2 * y1, 2 * (x2 - x1), 2 * (y2 - y1)]
            found = {"image_id": number, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **found})
    categories = [{"id": 7, "name": names[1]}, {"id": 90, "name": names[0]}]
    document = {"images": records, "annotations": annotations, "categories": categories}
    (folder / "data.json").write_text(json.dumps(document))
    return folder / "data.json", folder / "images"


def test_every_verb_decodes_an_artifact_without_a_word(cli: Cli, tmp_path: Path) -> None:
    model = save_yolo(tmp_path / "yolo.onnx")
    data, images = save_images(tmp_path)
    given = ["--data", data, "--images", images]
    exported = cli("export", "--onnx", model, "--sparsity", 0.5, "--calibrate", images, *given, "--out", tmp_path / "x")
    assert exported.code == 0
    metadata = read_metadata(onnx.load(tmp_path / "x" / "model.onnx"))
    assert metadata is not None
    assert (metadata.decoder, [entry.name for entry in metadata.classes]) == ("yolo", ["cell", "dust"])
    assert metadata.preprocessing == {"scale": pytest.approx(1 / 255), "size": [64, 64]}
    assert metadata.decoder_options == {"form": "raw", "output": "output0"}
    artifact = tmp_path / "x" / "model.onnx"
    scored = cli("evaluate", artifact, *given, "--json")
    assert scored.code == 0
    assert json.loads(scored.out)["ap"]["bbox"]["AP"] == pytest.approx(1.0)
    assert cli("predict", artifact, images / "1.png", "--out", tmp_path / "out", "--threshold", 0).code == 0
    (found,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["class"] for row in sorted(found["objects"], key=lambda row: row["box"])] == ["cell", "dust"]
    measured = cli("benchmark", artifact, *given, "--time", "0.05s", "--engine", "onnxruntime")
    assert measured.code == 0
    assert "100.0" in measured.out


def test_metadata_that_lie_stop_before_any_work(cli: Cli, tmp_path: Path) -> None:
    data, images = save_images(tmp_path)
    given = ["--data", data, "--images", images]
    cases = [
        ({"names": "{0: 'cell'}"}, 3, "'names' names 1 classes, but output 'output0' float32 [1, 6, 84] has 2"),
        ({"imgsz": "[96, 96]"}, 3, "'imgsz' is 96x96, but the graph refuses it"),
        ({"task": "segment"}, 2, "'task' is 'segment'"),
    ]
    for properties, code, words in cases:
        model = save_yolo(tmp_path / "lie.onnx", **properties)
        for command in (["evaluate", model, *given], ["export", "--onnx", model, *given]):
            outcome = cli(*command)
            assert (outcome.code, words in outcome.err) == (code, True), outcome.err


def test_classes_that_the_annotations_lack_stop_an_export(cli: Cli, tmp_path: Path) -> None:
    model = save_yolo(tmp_path / "yolo.onnx")
    data, images = save_images(tmp_path, ("rabbit", "fox"))
    outcome = cli("export", "--onnx", model, "--data", data, "--images", images)
    assert outcome.code == 3
    assert "none in common" in outcome.err
    assert not (tmp_path / "yolo-export").exists()


def test_inspect_says_which_decoder_auto_chooses(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("inspect", save_yolo(tmp_path / "yolo.onnx"))
    assert "yolo: metadata of ultralytics (task detect, stride 32, 2 names, imgsz 64x64)" in outcome.out
