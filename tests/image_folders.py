"""Image folders small enough for a test: classes that differ by color."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 200), "green": (60, 180, 70), "red": (200, 50, 40)}


def draw_folder(root: Path, pictures: int, size: tuple[int, int] = (40, 36), seed: int = 0) -> Path:
    """`pictures` of each class under `root`, noise around the class's color."""
    rng = np.random.default_rng(seed)
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(pictures):
            noise = rng.normal(0, 30, (size[1], size[0], 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root
