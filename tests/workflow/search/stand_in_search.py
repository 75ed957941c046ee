"""What `sweep` starts in its tests instead of `find-ticket`: the same arguments and files, no training.

A row whose name has "lost" fails until SWEEP/mended is there; one with "endless" waits, its dense training done, until
SWEEP/go is there; one with "killed" dies without a word. Every start is a line of SWEEP/starts.jsonl. Where SWEEP is at
a URL, the folder in STAND_IN_FOLDER has these files.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe, load_recipe
from lth_deploy.run.directory import RunDirectory
from lth_deploy.run.remote.location import is_remote
from lth_deploy.run.remote.look import file_at
from lth_deploy.run.remote.mirror import working_folder
from lth_deploy.run.trial_result import TrialResult

SECONDS = 900.0
"""How long an endless row waits."""


def trial(name: str, kind: str, level: float, ap: float) -> dict[str, Any]:
    shares = {"sparsity": level, "sparsity_prunable": level, "sparsity_all": 0.99 * level, "zero_macs": 0.7 * level}
    scores = {split: {"bbox": {"AP": ap}} for split in ("val", "test")}
    return {"name": name, "kind": kind, "seconds": 1.0, "hardware": "H200", **shares, **scores}


def finish_dense(run: RunDirectory) -> None:
    dense = run.trial("dense")
    for file in (dense.weights, dense.metrics):
        storage.write_text(file, "")
    if not dense.finished:
        dense.commit(TrialResult(name="dense", kind="dense", steps=(0, 1), positions={}))


def finish(run: RunDirectory, recipe: Recipe) -> None:
    """AP falls with the level, and differs by a point between seeds."""
    level, seed = recipe.pruning.level_list()[-1], recipe.training.seed
    ap = 0.6 - 0.2 * level + 0.01 * seed
    trials = [trial("dense", "dense", 0.0, 0.55), trial(f"level_{100 * level:g}", "ticket", level, ap)]
    if recipe.controls.random:
        trials.append(trial(f"random_{100 * level:g}", "random", level, ap - 0.1))
    summary = {"recipe": recipe.model_dump(mode="json"), "recipe_digest": recipe.digest(), "trials": trials}
    storage.write_json(run.summary, {"schema": "lth-run/1", "finished": True, **summary})
    run.commit([run.summary])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("recipe")
    for option in ("--out", "--dense-from", "--device", "--max-time"):
        parser.add_argument(option)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    with file_at(arguments.recipe) as file:
        recipe = load_recipe(file)
    with working_folder(arguments.out) as out:
        sweep = Path(os.environ["STAND_IN_FOLDER"]) if is_remote(arguments.out) else out.parent.parent
        search(arguments, recipe, out, sweep)


def search(arguments: argparse.Namespace, recipe: Recipe, out: Path, sweep: Path) -> None:
    known = (out / "manifest.json").exists()
    resumed = known if is_remote(arguments.out) else out.exists()
    start = {"process": os.getpid(), "row": recipe.name, "device": arguments.device, "resumed": resumed}
    start["dense_from"] = arguments.dense_from.rpartition("/")[2] if arguments.dense_from else None
    start |= {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    with (sweep / "starts.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")
    run = RunDirectory.open(out) if known else RunDirectory.create(out, recipe)
    if "killed" in recipe.name:
        os.kill(os.getpid(), signal.SIGKILL)
    finish_dense(run)
    if "lost" in recipe.name and not (sweep / "mended").exists():
        print("a line of the log\nerror: the loss stopped being finite;\nlower it", file=sys.stderr)
        sys.exit(1)
    end = time.monotonic() + SECONDS
    while "endless" in recipe.name and not (sweep / "go").exists():
        if time.monotonic() > end:
            sys.exit(f"error: {sweep / 'go'} was not made within {SECONDS:g} s")
        time.sleep(0.05)
    finish(run, recipe)
