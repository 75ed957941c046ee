"""A search on several ranks, small enough for a test."""

from pathlib import Path
from typing import Any

from lth_deploy.config.recipe import Recipe
from tests.detectors.sources.user_detectors import module_detector
from tests.workflow.ticket_runs import recipe_of


def ranks_recipe(**sections: Any) -> Recipe:
    """A detector of a few thousand weights, with norms that learn."""
    own = {"pruning": {"levels": [0.5]}, "controls": {"random": [0.5]}, "quantization": {"levels": [0.5], "steps": 4}}
    own["training"] = {"sync_norms": True, **sections.pop("training", {})}
    return recipe_of(module_detector("ssd"), **{**own, **sections})


def command(recipe: Path, run: Path, *options: str) -> list[str]:
    """The arguments of python that search a ticket."""
    return ["-m", "lth_deploy", "find-ticket", str(recipe), "--out", str(run), "--device", "cpu", *options]
