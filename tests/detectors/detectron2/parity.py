"""How far the converted detectors, and the files that they become, are from what detectron2 itself found.

    python -m tests.detectors.detectron2.parity --out benchmarks/results/detectron2-parity.json

Each case of `formula.py` on its image, beside the stored outputs of detectron2: the converted network in torch, the
packed file in stock ONNX Runtime and with the kernels and, where detectron2 is installed, its own modules under
torchvision's protocol. Scores, boxes and keypoints (in pixels) are compared object by object, masks by their share of
each of 4 x 4 tiles of the image.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.result_file import head
from lth_deploy import storage
from lth_deploy.config.target import Target
from lth_deploy.detections import Detections
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.detectors.detectron2.own_modules import OwnModules
from lth_deploy.detectors.detectron2.own_network import own_network
from lth_deploy.detectors.detectron2.own_states import checkpoint_of
from lth_deploy.detectors.inference import predict
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.export.detectron2.files import Detectron2Files
from lth_deploy.workflow.export.detectron2.from_detectron2 import export_detectron2
from lth_deploy.workflow.export.onnx_job import OnnxJob
from tests.detectors.detectron2.formula import CASES, fill, image, reference, write_config
from tests.detectors.detectron2.make_references import tiles

SCHEMA = "lth-detectron2-parity/1"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args(arguments)
    report = head(SCHEMA, "tests.detectors.detectron2.parity")
    rows = []
    for name in options.cases:
        with tempfile.TemporaryDirectory(prefix="lth-parity-") as folder:
            for what, found in finders(name, Path(folder)):
                rows.append({"case": name, "what": what, **differences(found, reference(name))})
                print(rows[-1])
    storage.write_json(options.out, {**report, "rows": rows})
    return 0


def finders(name: str, folder: Path) -> Iterator[tuple[str, Detections]]:
    """What each form of a case finds."""
    shapes = {key: tuple(shape) for key, shape in reference(name)["shapes"].items()}
    config, weights = write_config(folder, CASES[name]), folder / "model_final.pth"
    torch.save({"model": fill(shapes)}, weights)
    converted = convert(config, weights)
    yield "converted, in torch", predict(converted.model, [image()])[0]
    if importlib.util.find_spec("detectron2") is not None:
        own = OwnModules(own_network(config, converted.settings), converted.settings)
        own.load_state_dict(checkpoint_of(weights), strict=False)
        yield "detectron2's own modules", predict(own, [image()])[0]
    (folder / "images").mkdir()
    Image.fromarray(image()).save(folder / "images" / "blocks.png")
    files, job = Detectron2Files(config, weights), OnnxJob(images=folder / "images")
    made = export_detectron2(files, job, target=Target(values="fp32"), out=folder / "export")
    for engine, what in (
        ("onnxruntime", "packed file, stock runtime"),
        ("lth_deploy", "packed file, with the kernels"),
    ):
        yield what, open_artifact(made.artifact, engine=engine).predict(image())


def differences(found: Detections, expected: Any) -> dict[str, Any]:
    """The largest differences, of objects in the same order."""
    row: dict[str, Any] = {
        "objects": len(expected["scores"]),
        "same_labels": found.labels.tolist() == expected["labels"],
        "score": _largest(found.scores, expected["scores"]),
        "box_pixels": _largest(found.boxes, expected["boxes"]),
    }
    if "masks" in expected and found.masks is not None:
        row["mask_share"] = _largest(tiles(torch.from_numpy(found.masks >= 0.5).float()), expected["masks"])
    if "keypoints" in expected and found.keypoints is not None:
        row["keypoint_pixels"] = _largest(found.keypoints[:, :, :2], expected["keypoints"])
    return row


def _largest(found: Any, expected: Any) -> float | None:
    one, other = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(f"{np.abs(one - other).max():.3g}") if one.shape == other.shape else None


if __name__ == "__main__":
    sys.exit(main())
