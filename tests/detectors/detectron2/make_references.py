"""Reference outputs of detectron2 itself for the cases of `formula.py`: run where detectron2 is installed.

    python -m tests.detectors.detectron2.make_references

Each file has the shapes of the checkpoint by name, and what detectron2 finds: boxes, scores, labels from 1, the mask of
each object as its share of the image in each of 4 x 4 tiles, and keypoints.
"""

import importlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.detectors.detectron2.formula import CASES, IMAGE_SIZE, REFERENCES, Case, fill, image, write_config

TILES = 4


def main() -> None:
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            (REFERENCES / f"{name}.json").write_text(json.dumps(reference(case, Path(folder))) + "\n")


def reference(case: Case, folder: Path) -> dict[str, Any]:
    config = importlib.import_module("detectron2.config").get_cfg()
    config.merge_from_file(str(write_config(folder, case)), allow_unsafe=True)
    config.MODEL.DEVICE = "cpu"
    model = importlib.import_module("detectron2.modeling").build_model(config).eval()
    state = model.state_dict()
    model.load_state_dict(fill({name: tuple(value.shape) for name, value in state.items()}), strict=False)
    pixels = image()[:, :, ::-1] if config.INPUT.FORMAT == "BGR" else image()
    fed = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32))
    with torch.no_grad():
        found = model([{"image": fed, "height": IMAGE_SIZE[0], "width": IMAGE_SIZE[1]}])[0]["instances"]
    content = {
        "shapes": {name: list(value.shape) for name, value in state.items()},
        "boxes": rounded(found.pred_boxes.tensor, 3),
        "scores": rounded(found.scores, 6),
        "labels": (found.pred_classes + 1).tolist(),
    }
    if found.has("pred_masks"):
        content["masks"] = rounded(tiles(found.pred_masks.float()), 5)
    if found.has("pred_keypoints"):
        content["keypoints"] = rounded(found.pred_keypoints[:, :, :2], 3)
    return content


def tiles(masks: torch.Tensor) -> torch.Tensor:
    """The share of ones in each of 4 x 4 tiles [N, 4, 4] of masks [N, H, W]."""
    count, height, width = masks.shape
    return masks.reshape(count, TILES, height // TILES, TILES, width // TILES).mean(dim=(2, 4))


def rounded(values: torch.Tensor, digits: int) -> Any:
    return np.round(values.double().numpy(), digits).tolist()


if __name__ == "__main__":
    main()
