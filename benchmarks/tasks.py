"""Masks and keypoints from recipe to artifact: what the exported file finds beside what the torch model finds.

    python -m benchmarks.tasks --runs runs --out benchmarks/results/tasks-CPU.json

Searches a ticket with each recipe (going on where a run in --runs stopped), exports its highest level with float32 and
with float16 values, and scores the files with stock ONNX Runtime on the test images, on which the search scored the
torch model.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lth_deploy
from benchmarks.result_file import head
from lth_deploy import storage
from lth_deploy.config.bundled import recipe_file
from lth_deploy.config.target import Target
from lth_deploy.run.directory import RunDirectory

SCHEMA = "lth-tasks-benchmark/2"
RECIPES = ("shapes_mask_rcnn_r18", "shapes_keypoint_rcnn_r18")
FIGURES = ("AP", "AP50", "AP75")
VALUES: tuple[Literal["fp32", "fp16"], ...] = ("fp32", "fp16")

Accuracy = Mapping[str, Mapping[str, Any]]
"""Figures by kind: bbox, segm, keypoints."""


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
    """The trials' AP, and what the files of the highest ticket find."""
    trials = {trial.name: trial.read_result() for trial in RunDirectory.open(run).finished_trials()}
    level = max((trial for trial in trials.values() if trial.kind == "ticket"), key=lambda trial: trial.zeros).name
    torch_ap = {
        trial: {kind: figures(ap) for kind, ap in (result.test or {}).items()} for trial, result in trials.items()
    }
    return {
        "recipe": name,
        "trial": level,
        "torch_test_ap": torch_ap,
        "files": {values: exported(run, level, values, torch_ap[level]) for values in VALUES},
    }


def exported(run: Path, level: str, values: Literal["fp32", "fp16"], torch_ap: Accuracy) -> dict[str, Any]:
    """What the file with such values finds; `difference`: the largest of an AP to that of torch, in points."""
    made = lth_deploy.export(run, level=level, target=Target(values=values), out=run / f"export-{values}")
    scored = lth_deploy.evaluate(made.artifact, run / "data" / "test.json", run / "data" / "test", threads=1)
    file_ap = {kind: figures(ap) for kind, ap in scored.ap.metrics.items()}
    return {
        "test_ap": file_ap,
        "difference": 100 * max(abs(file_ap[kind]["AP"] - torch_ap[kind]["AP"]) for kind in file_ap),
        "bytes": {"dense": made.dense.stat().st_size, "ticket": made.artifact.stat().st_size},
        "parity": made.gate.parity.describe(),
    }


def figures(ap: Mapping[str, float | None]) -> dict[str, Any]:
    return {figure: ap[figure] for figure in FIGURES}


if __name__ == "__main__":
    sys.exit(main())
