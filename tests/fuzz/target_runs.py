"""Run directories: recipe, manifest, results, summary, masks, weights and checkpoints, with digests that fit or not."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.case import Case
from tests.fuzz.mutate_bytes import damaged, damaged_text
from tests.fuzz.mutate_tensors import damaged_tensors
from tests.fuzz.mutate_tree import damaged_json

NAME = "runs"
TRAINED = "trained"
_SMALL = {"backbone.body.conv1.weight": (8, 3, 3, 3), "head.weight": (4, 8, 1, 1)}
_MOST_READ = 1 << 20  # bytes of a file that is damaged


def prepare(folder: Path) -> None:
    """A run of arrays of a few hundred bytes, with a summary and a benchmark as a page draws them."""
    import numpy as np
    from safetensors.numpy import save_file

    from lth_deploy.mask import save_masks
    from lth_deploy.run.directory import RunDirectory, append_metrics
    from lth_deploy.run.trial_result import TrialResult
    from tests.pruning.toy_search import toy_recipe
    from tests.reporting.report_samples import make_run

    pictures = {"train": 2, "val": 1, "test": 1, "width": 32, "height": 32}
    run = RunDirectory.create(folder / "run", toy_recipe(data={"shapes": pictures}))
    rng = np.random.default_rng(1)
    for name in ("dense", "level_50", "level_80"):
        trial = run.trial(name)
        trial.path.mkdir(parents=True)
        weights = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in _SMALL.items()}
        if name != "dense":
            masks = {key: rng.random(shape) < 0.5 for key, shape in _SMALL.items()}
            save_masks(trial.mask, masks)
        save_file(weights, trial.weights)
        for step in range(3):
            append_metrics(trial.metrics, {"step": step, "loss": 1.0 / (1 + step), "lr": 0.1})
        scores = {"bbox": {"AP": 0.5, "AP50": 0.7}}
        shares = {"sparsity": 0.5, "sparsity_prunable": 0.5, "zero_macs": 0.4}
        measured = {"seconds": 1.0, "hardware": "x", "positions": dict.fromkeys(_SMALL, 100.0)}
        trial.commit(TrialResult(name=name, kind="ticket", steps=(0, 3), **shares, **measured, val=scores, test=scores))
    summary = make_run()
    for trial in summary["trials"]:
        trial["layers"] = trial["layers"][:3]
    run.summary.write_text(json.dumps(summary))


def prepare_trained(folder: Path) -> None:
    """A real search of a small detector, and one that was stopped inside its dense training."""
    from lth_deploy.workflow.search.find_ticket import find_ticket
    from tests.workflow.ticket_runs import tiny_recipe

    recipe = tiny_recipe(
        pruning={"levels": [0.8], "rewind": {"step": 1}}, controls={"random": []}, training={"steps": 2}
    )
    find_ticket(recipe, folder / "run", device="cpu")
    find_ticket(recipe, folder / "stopped", device="cpu", max_seconds=0.0)
    (folder / "recipe.yaml").write_text(recipe.to_yaml())


@cache
def _files(folder: Path) -> tuple[str, ...]:
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    return tuple(sorted(str(file.relative_to(folder)) for file in found if file.name != ".lock"))


def _changed(name: str, data: bytes, random: Random) -> bytes:
    if name.endswith(".safetensors"):
        return damaged_tensors(data, random)
    if name.endswith(".json"):
        return damaged_json(json.loads(data), random)
    if name.endswith(".jsonl"):
        lines: list[Any] = [json.loads(line) for line in data.splitlines()]
        at = random.randrange(len(lines))
        kept = [json.dumps(line).encode() for line in lines]
        kept[at] = damaged_json(lines[at], random)
        return b"\n".join(kept) + (b"\n" if random.random() < 0.8 else b"")
    if name.endswith((".yaml", ".txt")):
        return damaged_text(data.decode(), random)
    return damaged(data, random)


def _signed(manifest: bytes, changed: dict[str, bytes]) -> bytes:
    """The manifest with the digests of changed files: damage that no digest shows."""
    document = json.loads(manifest)
    for name, data in changed.items():
        if name in document["files"]:
            document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return json.dumps(document).encode()


def _damaged_run(folder: Path, given: str, random: Random, names: list[str]) -> dict[str, bytes | Path | None]:
    """Files of the run that lie in `given` when it is tried."""
    hits = random.sample(names, 1 if random.random() < 0.8 else min(2, len(names)))
    changed = {name: _changed(name, (folder / name).read_bytes(), random) for name in hits}
    files: dict[str, bytes | Path | None] = {f"{given}/{name}": data for name, data in changed.items()}
    if "manifest.json" not in changed and random.random() < 0.85:
        files[f"{given}/manifest.json"] = _signed((folder / "manifest.json").read_bytes(), changed)
    if random.random() < 0.05:
        files[f"{given}/{random.choice(names)}"] = random.choice((None, Path("absent"), Path("../../secret.bin"), b""))
    return files


def draw(seeds: Path, random: Random) -> Case:
    names = [name for name in _files(seeds / "run") if name != "log.txt"]
    files = _damaged_run(seeds / "run", "run", random, names)
    arguments = random.choice(
        (
            ["inspect", "run"],
            ["inspect", "run", "--json"],
            ["report", "run", "--out", "page.html"],
            ["report", "run", "--out", "page.html"],
            ["analyze", "run", "--out", "analysis", "--device", "cpu"],
            ["export", "run", "--out", "out", "--no-profile"],
        )
    )
    given = {f"run/{name}": f"run/{name}" for name in _files(seeds / "run")}
    # Data that a recipe generates are drawn again where they are missing.
    works = arguments[0] in ("analyze", "export")
    return Case(NAME, tuple(arguments), files, given, frozenset({0, 2, 3, 4}), may_change=works)


def draw_trained(seeds: Path, random: Random) -> Case:
    """A damaged real run; in half of the cases a stopped search that is to go on."""
    resumed = random.random() < 0.5
    run = "stopped" if resumed else "run"
    names = [
        name
        for name in _files(seeds / run)
        if name != "log.txt" and (name.endswith("safetensors") or (seeds / run / name).stat().st_size < _MOST_READ)
    ]
    if resumed and random.random() < 0.6:
        names = [name for name in names if name.endswith("checkpoint.safetensors")] or names
    files = _damaged_run(seeds / run, "run", random, names)
    given = {f"run/{name}": f"{run}/{name}" for name in _files(seeds / run)}
    codes = {0, 1, 2, 3, 4, 5}
    if resumed:
        given["recipe.yaml"] = "recipe.yaml"
        arguments = ["find-ticket", "recipe.yaml", "--out", "run", "--resume", "--device", "cpu", "--max-time", "0s"]
    else:
        arguments = random.choice(
            (
                ["export", "run", "--out", "out", "--no-profile"],
                ["analyze", "run", "--out", "analysis", "--device", "cpu", "--samples", "10"],
                ["report", "run", "--out", "page.html"],
                ["inspect", "run"],
            )
        )
    return Case(TRAINED, tuple(arguments), files, given, frozenset(codes), may_change=True)
