"""A detector of a few kilobytes in plain ONNX, and a data set on which it is perfect."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from

CLASSES = ("cell", "dust")
IDS = (4, 9)
BOXES = np.array([[4, 6, 24, 30], [30, 10, 60, 50]], np.float32)

DECODER = """
from lth_deploy.decoders.lth import LthDecoder

class Named(LthDecoder):
    class_names = ("cell", "dust")

def make():
    return Named()
"""


def tiny_model(seed: int = 0, zeros: float = 0.0, *, shift: float = 0.0) -> onnx.ModelProto:
    """Two boxes at fixed places, moved by `shift`; their scores come from the image through two convs."""
    generator = np.random.default_rng(seed)
    first = generator.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32)
    second = generator.normal(0, 0.1, (32, 16, 3, 3)).astype(np.float32)
    for weights in (first, second):
        weights.reshape(-1)[generator.permutation(weights.size)[: round(weights.size * zeros)]] = 0
    constants = {
        "first.weight": first,
        "second.weight": second,
        "head.weight": generator.normal(0, 0.2, (32, 2)).astype(np.float32),
        "boxes_at": BOXES + np.float32(shift),
        "labels_are": np.array([1, 2]),
        "scale": np.array([1 / 255], np.float32),
        "front": np.array([0]),
        "all": np.array([-1]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["planes", "front"], ["batch"]),
        helper.make_node("Conv", ["batch", "first.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second.weight"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "head.weight"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Reshape", ["probabilities", "all"], ["scores"]),
        helper.make_node("Identity", ["boxes_at"], ["boxes"]),
        helper.make_node("Identity", ["labels_are"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def save_tiny(path: Path, **arguments: float) -> Path:
    onnx.save(tiny_model(**arguments), str(path))
    return path


def save_ticket(folder: Path) -> Path:
    """The detector with 80 % zeros, packed with a region, in a folder."""
    packed, _ = pack(normalize(tiny_model(0, 0.8)), values="fp16")
    model, plan = build_regions(packed, zeros_from(0.5))
    assert plan.regions
    classes = [ClassName(id=number, name=name) for number, name in zip(IDS, CLASSES, strict=True)]
    write_metadata(model, ArtifactMetadata(decoder="lth", classes=classes, values="fp16"))
    save_model(model, folder / "ticket.onnx")
    return folder / "ticket.onnx"


def save_decoder(folder: Path) -> str:
    """The value of --decoder for files without metadata."""
    (folder / "named.py").write_text(DECODER)
    return f"{folder / 'named.py'}:make"


def save_data(folder: Path, images: int = 4) -> tuple[Path, Path]:
    """Annotation file and image folder: noise images of different sizes with an object at each of BOXES."""
    generator = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    records, annotations = [], []
    for number in range(1, images + 1):
        width, height = 64 + 8 * number, 56 + 4 * number
        pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        records.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for box, category in zip(BOXES.tolist(), IDS, strict=True):
            x1, y1, x2, y2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    document = {
        "images": records,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in zip(IDS, CLASSES, strict=True)],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder / "annotations.json", folder / "images"
