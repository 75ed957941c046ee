"""The learning rate as a pure function of the step, so that rewinding and resuming need no scheduler state."""

import math

from lth_deploy.config.training_spec import ScheduleSpec


def rate_at(step: int, total: int, base: float, spec: ScheduleSpec) -> float:
    """Learning rate of optimizer step `step` (from 0) in a training of `total` steps that peaks at `base`."""
    progress = step / max(total, 1)
    rate = base * _SHAPES[spec.name](progress, spec)
    if step < spec.warmup_steps:
        done = step / spec.warmup_steps
        rate *= spec.warmup_factor * (1 - done) + done
    return rate


def _constant(progress: float, spec: ScheduleSpec) -> float:
    return 1.0


def _step(progress: float, spec: ScheduleSpec) -> float:
    return spec.gamma ** sum(progress >= milestone for milestone in spec.milestones)


def _cosine(progress: float, spec: ScheduleSpec) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(progress: float, spec: ScheduleSpec) -> float:
    """Cosine up from 1/25 and down to 1/250,000 of the peak (Smith and Topin 2018, with PyTorch's constants)."""
    low, end = 1 / 25, 1 / 250_000
    if progress < spec.rise:
        return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * progress / spec.rise))
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (progress - spec.rise) / (1 - spec.rise)))


_SHAPES = {"constant": _constant, "step": _step, "cosine": _cosine, "one_cycle": _one_cycle}
