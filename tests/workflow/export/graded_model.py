"""A detector whose AP falls in known steps as its weights become zero, and the images that it is perfect on."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CLASSES = 10
SIDE = 16
IMAGES = 4
STEP = 0.5 / CLASSES
"""AP that is lost with each weight: that class has the same score in all images, and its objects are in the last."""

DECODER = f"""
from lth_deploy.decoders.lth import LthDecoder

class Named(LthDecoder):
    class_names = tuple("class {{}}".format(n) for n in range({CLASSES}))

def make():
    return Named()
"""


def graded_model() -> onnx.ModelProto:
    """One place for each class; the score of a class is a weight of its own times the brightness of its place.

    The weights have the magnitudes 10, 11, 12, ...: pruning by magnitude takes one class after the other.
    """
    boxes = [[SIDE * n, 0, SIDE * (n + 1), SIDE] for n in range(CLASSES)]
    constants = {
        "weights": np.arange(10, 10 + CLASSES, dtype=np.float32).reshape(CLASSES, 1, 1, 1),
        "bias": np.full(CLASSES, -5, np.float32),
        "scale": np.array(1 / 255, np.float32),
        "boxes_at": np.array(boxes, np.float32),
        "labels_are": np.arange(1, 1 + CLASSES),
        "apart": np.array([1, CLASSES, 1, 3]),
        "all": np.array([-1]),
        "front": np.array([0]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["planes", "front"], ["batch"]),
        helper.make_node("AveragePool", ["batch"], ["places"], kernel_shape=[SIDE, SIDE], strides=[SIDE, SIDE]),
        helper.make_node("Transpose", ["places"], ["turned"], perm=[0, 3, 2, 1]),
        helper.make_node("Reshape", ["turned", "apart"], ["channels"]),
        helper.make_node("Conv", ["channels", "weights", "bias"], ["c"], "score", group=CLASSES),
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[3], keepdims=0),
        helper.make_node("Sigmoid", ["m"], ["probabilities"]),
        helper.make_node("Reshape", ["probabilities", "all"], ["scores"]),
        helper.make_node("Identity", ["boxes_at"], ["boxes"]),
        helper.make_node("Identity", ["labels_are"], ["labels"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graded",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [CLASSES, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [CLASSES]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_graded(folder: Path, *, named: bool = True) -> tuple[Path, Path, Path, str]:
    """Model, annotations, images, and the value of --decoder. named: whether classes have the names of the model's."""
    (folder / "images").mkdir(parents=True)
    onnx.save(graded_model(), str(folder / "graded.onnx"))
    records, annotations = [], []
    for number in range(1, IMAGES + 1):
        file = f"{number}.png"
        bright = number > IMAGES / 2
        pixels = np.zeros((SIDE, SIDE * CLASSES, 3), np.uint8)
        pixels[:, :, 0] = 10 * number
        for place in range(CLASSES) if bright else ():
            pixels[:, SIDE * place : SIDE * (place + 1)] = 200 + number + place
            box = [SIDE * place, 0, SIDE, SIDE]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": place + 1, "bbox": box}
                | {"area": SIDE * SIDE, "iscrowd": 0}
            )
        Image.fromarray(pixels).save(folder / "images" / file)
        records.append({"id": number, "file_name": file, "width": SIDE * CLASSES, "height": SIDE})
    categories = [{"id": n + 1, "name": f"class {n if named else (n + 1) % CLASSES}"} for n in range(CLASSES)]
    document = {"images": records, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    (folder / "named.py").write_text(DECODER)
    return folder / "graded.onnx", folder / "annotations.json", folder / "images", f"{folder / 'named.py'}:make"
