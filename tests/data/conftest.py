"""Fixtures of the data tests."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.sound_coco import DOCUMENT, HEIGHT, WIDTH, CocoFolder


@pytest.fixture
def coco_folder(tmp_path: Path) -> CocoFolder:
    folder = CocoFolder(tmp_path, deepcopy(DOCUMENT))
    folder.images.mkdir()
    random = np.random.default_rng(0)
    for image in folder.document["images"]:
        pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder.images / image["file_name"])
    folder.write()
    return folder
