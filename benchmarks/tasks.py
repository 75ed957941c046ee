"""Masks and keypoints from recipe to artifact: what the exported file finds beside what the torch model finds.

    python -m benchmarks.tasks --runs runs --out benchmarks/results/tasks-CPU.json

Searches a ticket with each recipe (going on where a run in --runs stopped), exports its highest level, and scores the
file with stock ONNX Runtime on the test images, on which the search scored the torch model.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lth_deploy
from benchmarks.report import head
from lth_deploy import storage
from lth_deploy.bundled import recipe_file
from lth_deploy.ticket import RunDirectory

SCHEMA = "lth-tasks-benchmark/1"
RECIPES = ("shapes_mask_rcnn_r18", "shapes_keypoint_rcnn_r18")
FIGURES = ("AP", "AP50", "AP75")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run directories")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    about, rows = head(SCHEMA, "benchmarks.tasks"), []
    for name in options.recipes:
        run = options.runs / name
        lth_deploy.find_ticket(lth_deploy.load_recipe(recipe_file(name), []), run, resume=run.exists())
        rows.append(measured(name, run))
        print(rows[-1])
        storage.write_json(options.out, {**about, "rows": rows})
    return 0


def measured(name: str, run: Path) -> dict[str, Any]:
    """The trials' AP, and that of the exported ticket; `difference`: the largest, in points."""
    trials = {trial.name: trial.read_result() for trial in RunDirectory.open(run).finished_trials()}
    level = max((one for one in trials.values() if one["kind"] == "ticket"), key=lambda one: one["sparsity"])["name"]
    exported = lth_deploy.export(run, level=level)
    scored = lth_deploy.evaluate(exported.artifact, run / "data" / "test.json", run / "data" / "test", threads=1)
    file_ap = {kind: {figure: ap[figure] for figure in FIGURES} for kind, ap in scored.ap.metrics.items()}
    torch_ap = {
        trial: {kind: {figure: ap[figure] for figure in FIGURES} for kind, ap in result["test"].items()}
        for trial, result in trials.items()
    }
    return {
        "recipe": name,
        "trial": level,
        "torch_test_ap": torch_ap,
        "file_test_ap": file_ap,
        "difference": 100 * max(abs(file_ap[kind]["AP"] - torch_ap[level][kind]["AP"]) for kind in file_ap),
        "bytes": {"dense": exported.dense.stat().st_size, "ticket": exported.artifact.stat().st_size},
        "parity": exported.gate.parity.describe(),
    }


if __name__ == "__main__":
    sys.exit(main())
