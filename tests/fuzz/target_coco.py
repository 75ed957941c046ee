"""COCO annotation files and their image folders, through `data check`, `data crops` and `evaluate`."""

import copy
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from tests.fuzz.case import Case
from tests.fuzz.mutate_tree import damaged_json

NAME = "coco"


def prepare(folder: Path) -> None:
    """A document with boxes, masks, keypoints and crowds, small images, and a detector."""
    from tests.data.sound_coco import DOCUMENT, HEIGHT, WIDTH
    from tests.tiny_artifact import save_data, save_decoder, save_tiny

    document = copy.deepcopy(DOCUMENT)
    (folder / "images").mkdir()
    for number, record in enumerate(document["images"]):
        Image.new("RGB", (WIDTH, HEIGHT), (40 * number, 90, 160)).save(folder / "images" / record["file_name"])
    (folder / "document.json").write_text(json.dumps(document))
    save_data(folder / "tiny", images=2)
    save_decoder(folder)
    save_tiny(folder / "tiny.onnx")


@cache
def _loaded(file: Path) -> Any:
    return json.loads(file.read_text())


def draw(seeds: Path, random: Random) -> Case:
    scored = random.random() < 0.25
    origin = "tiny/annotations.json" if scored else "document.json"
    folder = "tiny/images" if scored else "images"
    content = damaged_json(_loaded(seeds / origin), random)
    if random.random() < 0.05:
        content = b"\xef\xbb\xbf" + content
    files: dict[str, bytes | Path | None] = {"data.json": content}
    given = {f"images/{file.name}": f"{folder}/{file.name}" for file in sorted((seeds / folder).iterdir())}
    if random.random() < 0.1:
        files[random.choice(sorted(given))] = random.choice(
            (b"", None, b"no picture", Path("absent"), Path("../secret.bin"))
        )
    if scored:
        given |= {"model.onnx": "tiny.onnx", "named.py": "named.py"}
        arguments = ["evaluate", "model.onnx", "--data", "data.json", "--images", "images"]
        arguments += ["--decoder", "named.py:make", *(["--by-class"] if random.random() < 0.5 else [])]
    else:
        arguments = random.choice(
            (
                ["data", "check", "data.json", "images"],
                ["data", "check", "data.json", "images", "--fast"],
                ["data", "crops", "data.json", "images", "--out", "crops", "--smallest", "1"],
            )
        )
    return Case(NAME, tuple(arguments), files, given)
