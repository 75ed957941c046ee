"""Steps of a training on several ranks: images a second, what masks cost, and how long a whole search will take.

    python -m benchmarks.distributed step RECIPE [--device cuda]              # one device
    torchrun --nproc-per-node 8 -m benchmarks.distributed step RECIPE         # eight
    python -m benchmarks.distributed pair --json FILE                         # two ranks beside one process

`pair` needs two idle cores. It runs `step` in fresh processes by turns: one process with one thread, two ranks over
Gloo with one thread each on the same batch, and two processes that exchange nothing, each with half of the batch. What
the last two gain over the first is all that the machine has to give: two cores of a virtual machine may be two threads
of one core.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.result_file import head, publish, ratio
from lth_deploy import storage
from lth_deploy.config.bundled import recipe_file
from lth_deploy.config.recipe import Recipe, load_recipe
from lth_deploy.pruning.scope import prunable_layers
from lth_deploy.run.directory import RunDirectory, Trial
from lth_deploy.training.hardware import hardware_of
from lth_deploy.training.hooks import Hook
from lth_deploy.training.ranks.process_group import current_ranks
from lth_deploy.training.ranks.states import mask_digest
from lth_deploy.training.session import Session
from lth_deploy.training.state import TrainingState
from lth_deploy.workflow.search.all_ranks import on_all_ranks
from lth_deploy.workflow.search.find_ticket import batches_of, build_model, pick_device, splits_of_all_ranks
from lth_deploy.workflow.search.search_plan import plan_search

SCHEMA = "lth-distributed/1"
WARM_UP, SPARSITY = 5, 0.8


class Clock(Hook):
    """Seconds of each step, from the end of the one before."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._last = device, time.perf_counter()
        self.seconds: list[float] = []

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Note the time, when the device is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def measure_steps(recipe: Recipe, device: torch.device, steps: int) -> dict[str, Any]:
    """Train `steps` steps under masks, after some that are not counted; on rank 0, with the others following."""
    with storage.scratch("steps") as folder:
        splits = splits_of_all_ranks(recipe, folder)
        batches = batches_of(recipe, splits["train"], device)
        model = build_model(recipe, splits["train"], recipe.training.seed, False).to(device)
        masks = magnitude_masks(model)
        session = Session(recipe.training, device, model, Trial(RunDirectory(folder), "steps"), masks)
        clock, spent = Clock(device), _timed_masks(session)
        session.add(clock)
        start = TrainingState.capture(0, model)
        try:
            session.run(start, range(WARM_UP + steps), lambda step: 0.1 * recipe.training.optimizer.lr, batches)
        finally:
            batches.close()
        began = time.perf_counter()
        mask_digest(model, masks)
        digest = time.perf_counter() - began
        planned = plan_search(recipe, folder)
    seconds = statistics.median(clock.seconds[WARM_UP:])
    masking = statistics.median(spent[WARM_UP:])
    longest = max(trial.steps for trial in planned.trials)
    return {
        "recipe": recipe.name,
        "ranks": current_ranks().size,
        "device": hardware_of(device),
        "threads": torch.get_num_threads(),
        "batch": recipe.training.batch_size,
        "precision": recipe.training.precision,
        "seconds_per_step": seconds,
        "images_per_second": recipe.training.batch_size / seconds,
        "waiting_share": session.stepper.waited / sum(clock.seconds),
        "mask_share": masking / seconds,
        # Every training compares digests at its beginning and at its end.
        "digest_share": 2 * digest / longest / seconds,
        "steps_of_search": planned.steps,
        "hours_of_search_without_evaluation": planned.steps * seconds / 3600,
    }


def magnitude_masks(model: nn.Module) -> dict[str, Tensor]:
    """The largest weights of each layer."""
    masks = {}
    for layer in prunable_layers(model):
        size = model.get_parameter(layer.name).detach().abs()
        keep = max(1, round((1 - SPARSITY) * size.numel()))
        masks[layer.name] = size >= size.flatten().kthvalue(size.numel() - keep + 1).values
    return masks


def _timed_masks(session: Session) -> list[float]:
    """Seconds that the masks of a session take, step by step."""
    spent: list[float] = []
    keep = session._keep.after_backward

    def timed(step: int) -> None:
        began = time.perf_counter()
        keep(step)
        spent.append(time.perf_counter() - began)

    session._keep.after_backward = timed  # type: ignore[method-assign]
    return spent


def pair(recipe: str, overrides: Sequence[str], steps: int, rounds: int) -> dict[str, Any]:
    """Two ranks beside one process and beside two that exchange nothing, by turns."""
    report = head(SCHEMA, "benchmarks.distributed")
    half = load_recipe(recipe_file(recipe), list(overrides)).training.batch_size // 2
    halved = [*overrides, f"training.batch_size={half}"]
    alone, ranked, apart = [], [], []
    for _ in range(rounds):
        alone.append(_finished(_started(recipe, overrides, steps)))
        ranked.append(_finished(_started(recipe, overrides, steps, ranks=2)))
        both = [_started(recipe, halved, steps) for _ in range(2)]
        apart.append(max((_finished(one) for one in both), key=lambda row: float(row["seconds_per_step"])))
    times = [[row["seconds_per_step"] for row in own] for own in (alone, ranked, apart)]
    report["two_ranks_over_one_process"] = ratio(times[0], times[1])
    report["two_separate_processes_over_one"] = ratio(times[0], times[2])
    for share in ("mask_share", "digest_share"):
        report[share] = statistics.median(row[share] for row in ranked)
    report["rows"] = [*alone, *ranked, *apart]
    return report


def _started(recipe: str, overrides: Sequence[str], steps: int, *, ranks: int = 1) -> "subprocess.Popen[str]":
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "benchmarks.distributed", "step", recipe, "--device", "cpu"]
    command += ["--steps", str(steps), "--set", "training.threads=1"]
    command += [part for override in overrides for part in ("--set", override)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a `step` printed."""
    printed, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return dict(json.loads(printed))


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "pair"])
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", dest="overrides", action="append", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what == "pair":
        report: dict[str, Any] | None = pair(options.recipe, options.overrides or [], options.steps, options.rounds)
    else:
        overrides = ["training.checkpoint_seconds=1e9", *(options.overrides or [])]
        recipe = load_recipe(recipe_file(options.recipe), overrides)
        device = pick_device(options.device)
        report = on_all_ranks(recipe, options.device, lambda _: measure_steps(recipe, device, options.steps))
    if report is None:
        return
    publish(report, options.json)


if __name__ == "__main__":
    main()
