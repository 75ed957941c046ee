"""Tiny recipes that begin from checkpoints of detectron2, whose weights a formula makes."""

from pathlib import Path
from typing import Any

import torch

from lth_deploy.config.recipe import Recipe
from tests.detectors.detectron2.formula import CASES, fill, reference, write_config
from tests.workflow.ticket_runs import recipe_of


def recipe(folder: Path, name: str = "retinanet", side: int = 64, **sections: Any) -> Recipe:
    """A tiny recipe on a checkpoint of three classes, as many as the generated shapes have."""
    shapes = {key: tuple(shape) for key, shape in reference(name)["shapes"].items()}
    torch.save({"model": fill(shapes)}, folder / "model_final.pth")
    detector = {
        "source": "detectron2",
        "name": name.removesuffix("_c4"),
        "config": str(write_config(folder, CASES[name])),
        "weights": str(folder / "model_final.pth"),
        "min_size": side,
        "max_size": side,
        "score_threshold": 0.0,
    }
    return recipe_of(detector, **sections)
