"""What ticket search adds to training: the masked step, the ranking of 44.6 M weights, a checkpoint, a resume.

    python -m benchmarks.search --out benchmarks/results/search-CPU.json

Masked and unmasked steps take turns, step by step, each on a model of its own, so that a slow phase of the machine
meets both; the ratio is of medians, and every time is in the JSON. Steps are in seconds of processor time, which other
work on the machine lengthens least; everything else in wall-clock seconds.
"""

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lth_deploy import storage
from lth_deploy.config import strict_yaml
from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.config.recipe import Recipe, recipe_from
from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.detectors import build_detector
from lth_deploy.measure.machine import describe_machine
from lth_deploy.pruning.layer import PrunableLayer
from lth_deploy.pruning.ranking.allocation import Allocation, prune
from lth_deploy.pruning.ranking.criteria import magnitude
from lth_deploy.pruning.scope import scoped_layers
from lth_deploy.run.directory import RunDirectory, Trial, versions
from lth_deploy.structures import STRUCTURES
from lth_deploy.training.hooks import KeepMask
from lth_deploy.training.loop import Batch, Stepper
from lth_deploy.training.optimizer import build_optimizer
from lth_deploy.training.session import Session

SCHEMA = "lth-search-benchmark/1"
SPARSITY = 0.8
STEP_GOAL, RANKING_GOAL_S, RESUME_GOAL_S = 1.02, 1.5, 5.0
LAYERS_OF_44M = (
    *(("fc1", (1024, 12544)), ("fc2", (1024, 1024))),
    *((f"body{number}", (512, 512, 3, 3)) for number in range(12)),
    *((f"fpn{number}", (256, 256, 3, 3)) for number in range(4)),
)
"""Layers of a Mask R-CNN's sizes, 44.6 M weights in all."""


@dataclass(frozen=True)
class Steps:
    """Paired training steps in processor time; ratio: median of masked over median of unmasked."""

    model: str
    image: tuple[int, int]
    batch: int
    ratio: float
    hook_median_s: float
    masked_s: list[float]
    unmasked_s: list[float]


@dataclass(frozen=True)
class Ranking:
    """Global selection of the weights that fall."""

    weights: int
    allocation: str
    structure: str
    median_s: float
    seconds: list[float]


@dataclass(frozen=True)
class Resume:
    """What a resume costs before its first step: reading the checkpoint and putting it into the model."""

    parameters: int
    checkpoint_bytes: int
    save_median_s: float
    resume_median_s: float
    save_s: list[float]
    resume_s: list[float]


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=30, help="pairs of training steps")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of everything else")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps, rankings = measure_steps(options.steps), measure_rankings(options.rounds)
    resume = measure_resume(options.rounds)
    result = {
        "schema": SCHEMA,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks.search", *sys.argv[1:]]),
        "machine": describe_machine().model_dump(),
        "versions": versions(),
        "threads": options.threads,
        "load_average": os.getloadavg(),
        "goals": {"step_ratio": STEP_GOAL, "ranking_s": RANKING_GOAL_S, "resume_s": RESUME_GOAL_S},
        "steps": asdict(steps),
        "rankings": [asdict(one) for one in rankings],
        "resume": asdict(resume),
    }
    storage.write_json(options.out, result)
    print(f"masked step: {steps.ratio:.4f} x unmasked, the hook itself {1e3 * steps.hook_median_s:.2f} ms")
    for one in rankings:
        print(f"ranking {one.weights / 1e6:.1f} M, {one.allocation}, {one.structure}: {one.median_s:.2f} s")
    print(f"resume: {resume.resume_median_s:.2f} s, checkpoint: {resume.save_median_s:.2f} s")


def measure_steps(pairs: int) -> Steps:
    """Steps of a RetinaNet on ResNet-18 with and without the mask, in turns."""
    width, height, size = 320, 240, 2
    training = _recipe().training
    masked, unmasked = (_stepper(training) for _ in range(2))
    masks = {
        layer.name: torch.rand(layer.module.get_parameter("weight").shape) >= SPARSITY
        for layer in scoped_layers(masked.model, "default")
    }
    hook = KeepMask(masked.model, masks)
    hook_seconds: list[float] = []

    def keep() -> None:
        hook_seconds.append(timed(lambda: hook.after_backward(0), time.process_time))

    times: tuple[list[float], list[float]] = ([], [])
    for step in range(pairs + 2):
        batch = _batch(step, width, height, size)
        sides: list[tuple[int, Callable[[], Any]]] = [
            (0, lambda batch=batch: masked.step(batch, 1e-4, keep)),  # type: ignore[misc]
            (1, lambda batch=batch: unmasked.step(batch, 1e-4, _nothing)),  # type: ignore[misc]
        ]
        for side, run in sides if step % 2 else reversed(sides):
            seconds = timed(run, time.process_time)
            if step >= 2:  # the first steps allocate
                times[side].append(seconds)
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    return Steps("RetinaNet ResNet-18 FPN 64", (width, height), size, ratio, statistics.median(hook_seconds), *times)


def measure_rankings(rounds: int) -> list[Ranking]:
    """Level 1 of a search over 44.6 M weights, from scores to masks."""
    rng = np.random.default_rng(0)
    layers = [
        PrunableLayer(name, rng.standard_normal(shape, np.float32) * np.float32(0.02), False, 1 + number)
        for number, (name, shape) in enumerate(LAYERS_OF_44M)
    ]
    masks = {layer.name: np.ones(layer.weights.shape, np.bool_) for layer in layers}
    found = []
    cases: list[tuple[Allocation, str]] = [("global", "single"), ("macs", "single"), ("global", "in4")]
    for allocation, structure in cases:
        rank = partial(prune, layers, masks, SPARSITY, magnitude, allocation, STRUCTURES[structure])
        seconds = [timed(rank) for _ in range(rounds)]
        size = sum(layer.weights.size for layer in layers)
        found.append(Ranking(size, allocation, structure, statistics.median(seconds), seconds))
    return found


def measure_resume(rounds: int) -> Resume:
    """A session that stops, and one that goes on with nothing left to do."""
    model = build_detector(DetectorSpec(name="mask_rcnn", backbone="resnet50"), 80)
    training = TrainingSpec(steps=1)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(training, torch.device("cpu"), model, Trial(RunDirectory(Path(folder)), "trial"), {})
        start = session.capture(1)  # momentum of every weight included
        file = session.trial.checkpoint
        saves = [timed(lambda: session.capture(1).save(file)) for _ in range(rounds)]
        resumes = [timed(lambda: session.run(start, range(1), lambda step: 0.0, _NoBatches())) for _ in range(rounds)]
        size, count = file.stat().st_size, sum(p.numel() for p in model.parameters())
    return Resume(count, size, statistics.median(saves), statistics.median(resumes), saves, resumes)


def timed(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds by `clock` that one call takes."""
    began = clock()
    run()
    return clock() - began


class _NoBatches:
    def batch(self, step: int) -> Batch:
        raise AssertionError(f"a finished training asked for step {step}")

    def close(self) -> None:
        """Nothing to close."""


def _recipe() -> Recipe:
    document = {
        "version": 1,
        "name": "search",
        "detector": {"name": "retinanet", "backbone": "resnet18", "fpn_width": 64, "min_size": 240, "max_size": 320},
        "data": {"format": "shapes"},
        "training": {"steps": 1, "optimizer": {"name": "adamw", "lr": 1e-4}, "clip_norm": 10.0},
    }
    return recipe_from(strict_yaml.parse(strict_yaml.dump(document), "search"))


def _stepper(training: TrainingSpec) -> Stepper:
    torch.manual_seed(0)
    model = build_detector(_recipe().detector, 3).to(memory_format=torch.channels_last).train()
    return Stepper(model, build_optimizer(model, training.optimizer), training, torch.device("cpu"))


def _batch(step: int, width: int, height: int, size: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = [torch.rand(3, height, width, generator=generator) for _ in range(size)]
    box = torch.tensor([[40.0, 40.0, 120.0, 120.0]])
    return images, [{"boxes": box, "labels": torch.tensor([1])} for _ in images]


def _nothing() -> None:
    """What is done after the backward pass without a mask."""


if __name__ == "__main__":
    main()
