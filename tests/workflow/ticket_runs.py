"""Ticket searches small enough for a test; run as a program, one search in a process that may be killed."""

import sys
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import Recipe, recipe_from

STEPS, REWIND = 5, 2


def tiny_recipe(family: str = "retinanet", **sections: Any) -> Recipe:
    """A ResNet-18 detector, its pyramid of 16 channels, on 64 x 64 pixels; `sections` update its parts."""
    name, _, layout = family.partition("/")
    document: dict[str, Any] = {
        "version": 1,
        "name": "tiny",
        "detector": {
            "name": name,
            "backbone": "resnet18",
            **({"layout": layout, "roi_cells": 7} if layout else {"fpn_width": 16, "head_width": 32}),
            "min_size": 64,
            "max_size": 64,
            "proposals": 40,
            "detections": 8,
            "score_threshold": 0.0,
        },
        "data": {"format": "shapes", "shapes": {"train": 6, "val": 2, "test": 2, "width": 64, "height": 64}},
        "training": {
            "steps": STEPS,
            "batch_size": 2,
            "optimizer": {"name": "sgd", "lr": 0.01},
            "schedule": {"name": "cosine"},
            "clip_norm": 5.0,
            "threads": 1,
            "checkpoint_seconds": 1000.0,
        },
        "pruning": {"levels": [0.5, 0.8], "rewind": {"step": REWIND}},
        "controls": {"random": [0.8]},
        "selection": {"bootstrap_samples": 50},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return recipe_from(strict_yaml.parse(strict_yaml.dump(document), "tiny"))


def recipe_of(detector: dict[str, Any], **sections: Any) -> Recipe:
    """`tiny_recipe` with a detector of another source."""
    document = tiny_recipe(**sections).model_dump(mode="json")
    document["detector"] = detector
    return recipe_from(strict_yaml.parse(strict_yaml.dump(document), "tiny"))


def outcome(run: Path) -> dict[str, str]:
    """Digest of every mask, weight and metric file and of the rewind state."""
    files = [*run.glob("trials/*/*.safetensors"), *run.glob("trials/*/metrics.jsonl"), run / "rewind.safetensors"]
    return {str(file.relative_to(run)): storage.sha256(file) for file in sorted(files)}


def stopped_everywhere(recipe: Recipe, run: Path) -> int:
    """Search in `run`, stopped as often as can be and resumed each time; how many times it was stopped."""
    from lth_deploy.workflow.search.find_ticket import find_ticket

    stopped = 0
    while not find_ticket(recipe, run, device="cpu", resume=stopped > 0, max_seconds=0.0).finished:
        stopped += 1
        assert stopped < 1000, "the search does not get on"
    return stopped


if __name__ == "__main__":
    from lth_deploy.config.recipe import load_recipe
    from lth_deploy.workflow.search.find_ticket import find_ticket

    find_ticket(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), device="cpu", resume=True)
