"""Metadata of artifacts: what a file says about itself, damaged as a JSON tree, and through the verbs that use it."""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import onnx
from onnx import ModelProto

from tests.fuzz.case import Case
from tests.fuzz.mutate_tree import damaged_json

NAME = "metadata"


def prepare(folder: Path) -> None:
    """One small artifact with every entry of the metadata filled in."""
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, write_metadata
    from lth_deploy.compiler.artifact.pack import pack
    from lth_deploy.compiler.importing.imported import normalize
    from tests.tiny_artifact import CLASSES, IDS, save_data, tiny_model

    model = pack(normalize(tiny_model(zeros=0.8)))[0]
    layers = ["first.weight", "second.weight", "head.weight"]
    said: dict[str, Any] = {
        "decoder": "lth",
        "classes": [{"id": number, "name": name} for number, name in zip(IDS, CLASSES, strict=True)],
        "keypoints": ["nose", "tail"],
        "preprocessing": {"mean": [0.5, 0.5, 0.5], "size": 64},
        "recipe_digest": "a" * 64,
        "level": "level_80",
        "sparsity": 0.8,
        "target": "cpu",
        "created_by": {"lth-deploy": "0.1.0", "onnx": "1.21"},
        "opset": 18,
        "positions": dict.fromkeys(layers, 100),
        "dense_because": {layers[0]: "it is small"},
        "predicted": {name: [0.1, 0.2] for name in layers},
        "rest": [0.1, 0.1],
        "removed_channels": {layers[1]: [1, 9]},
        "measured": {"cpu": "x", "times": {"whole": [1.0, 2.0]}},
        "quantization": {"method": "entropy", "images": 5, "errors": {layers[0]: 0.1}, "kept_float": {layers[2]: "x"}},
        "int8_macs": 0.9,
        "control_sha256": "b" * 64,
    }
    write_metadata(model, ArtifactMetadata.model_validate(said))
    onnx.save(model, str(folder / "artifact.onnx"))
    save_data(folder / "data", images=1)


@cache
def _loaded(file: Path) -> tuple[ModelProto, str]:
    model = onnx.load(str(file))
    (entry,) = model.metadata_props
    return model, entry.value


def draw(seeds: Path, random: Random) -> Case:
    model, text = _loaded(seeds / "artifact.onnx")
    copy = ModelProto()
    copy.CopyFrom(model)
    (entry,) = copy.metadata_props
    # A protobuf string holds no lone surrogate.
    entry.value = damaged_json(json.loads(text), random).decode("utf-8", "replace")
    given = {"images/1.png": "data/images/1.png", "data.json": "data/annotations.json"}
    arguments = random.choice(
        (
            ["inspect", "model.onnx"],
            ["inspect", "model.onnx", "--json"],
            ["predict", "model.onnx", "images/1.png", "--out", "out"],
            ["evaluate", "model.onnx", "--data", "data.json", "--images", "images", "--by-class"],
            ["--quiet", "export", "--onnx", "model.onnx", "--out", "out", "--no-profile"],
        )
    )
    codes = frozenset({0, 2, 3, 4})
    return Case(NAME, tuple(arguments), {"model.onnx": copy.SerializeToString()}, given, codes)
