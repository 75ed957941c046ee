"""The converted detectors find what detectron2 itself found, from the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.detectors.inference import to_input
from tests.detectors.detectron2.formula import CASES, fill, image, reference, write_config
from tests.detectors.detectron2.make_references import tiles


def write_checkpoint(folder: Path, shapes: dict[str, list[int]]) -> Path:
    """A checkpoint as detectron2's trainer writes it."""
    state = fill({name: tuple(shape) for name, shape in shapes.items()})
    path = folder / "model_final.pth"
    torch.save({"model": state, "iteration": 90000}, path)
    return path


# What it shows beside the others is shown by mask_rcnn_c4 too, but for the order of the channels.
SLOW = ("faster_rcnn_c4",)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES])
def test_a_converted_detector_finds_what_detectron2_finds(name: str, tmp_path: Path) -> None:
    expected = reference(name)
    config = write_config(tmp_path, CASES[name])
    converted = convert(config, write_checkpoint(tmp_path, expected["shapes"]))
    with torch.no_grad():
        found = converted.model([to_input(torch.from_numpy(image()))])[0]
    assert len(expected["boxes"]) == 40
    assert found["labels"].tolist() == expected["labels"]
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=2e-5)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=5e-3)
    if "masks" in expected:
        masks = (found["masks"][:, 0] >= 0.5).float()
        assert masks.mean() > 0.003
        # A pixel at the threshold may fall to either side: a tile has 1,920.
        np.testing.assert_allclose(tiles(masks), expected["masks"], atol=2e-3)
    if "keypoints" in expected:
        np.testing.assert_allclose(found["keypoints"][:, :, :2], expected["keypoints"], atol=5e-3)
