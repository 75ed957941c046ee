"""Pictures through the verbs that open them: `predict`, `data check`, `data crops` and `evaluate`."""

import json
from pathlib import Path
from random import Random

from tests.fuzz.case import Case
from tests.fuzz.mutate_images import SUFFIXES, damaged_picture

NAME = "images"


def prepare(folder: Path) -> None:
    """A detector that takes images of any size."""
    from tests.tiny_artifact import save_decoder, save_tiny

    save_decoder(folder)
    save_tiny(folder / "tiny.onnx")


def _document(name: str) -> bytes:
    document = {
        "images": [{"id": 1, "file_name": name, "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [2, 3, 20, 9], "area": 180, "iscrowd": 0}],
        "categories": [{"id": 4, "name": "cell"}, {"id": 9, "name": "dust"}],
    }
    return json.dumps(document).encode()


def draw(seeds: Path, random: Random) -> Case:
    name = f"picture{random.choice(SUFFIXES)}"
    files: dict[str, bytes | Path | None] = {f"images/{name}": damaged_picture(random)}
    given = {"model.onnx": "tiny.onnx", "named.py": "named.py"}
    decoder = ["--decoder", "named.py:make"]
    verb = random.choice(("predict", "predict", "check", "crops", "evaluate"))
    if verb == "predict":
        arguments = ["predict", "model.onnx", f"images/{name}", "--out", "out", *decoder]
    else:
        files["data.json"] = _document(name)
        arguments = {
            "check": ["data", "check", "data.json", "images"],
            "crops": ["data", "crops", "data.json", "images", "--out", "crops", "--smallest", "1"],
            "evaluate": ["evaluate", "model.onnx", "--data", "data.json", "--images", "images", *decoder],
        }[verb]
    return Case(NAME, tuple(arguments), files, given if verb in ("predict", "evaluate") else {})
