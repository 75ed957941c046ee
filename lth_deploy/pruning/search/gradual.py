"""Gradual pruning: the zeros come little by little while the network trains."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lth_deploy.config.search_spec import CubicSpec, ProgressiveSpec, PruningSpec
from lth_deploy.errors import RecipeError
from lth_deploy.mask import Masks
from lth_deploy.training.hooks import Hook


def cubic_sparsity(progress: float, target: float) -> float:
    """Sparsity at `progress` 0..1 of the rise: target (1 - (1 - progress)^3) (Zhu and Gupta 2017, equation 1)."""
    return target * (1.0 - (1.0 - min(max(progress, 0.0), 1.0)) ** 3)


def cubic_points(spec: CubicSpec, steps: range, target: float) -> dict[int, float]:
    """Sparsities of a gradual training over `steps`, by the number of steps done; the last is `target`."""
    begin = steps.start + round(spec.begin * len(steps))
    end = max(steps.start + round(spec.end * len(steps)), begin + 1)
    every = spec.every if spec.updates is None else max(1, round((end - begin) / spec.updates))
    return {
        done: cubic_sparsity((done - begin) / (end - begin), target)
        for done in (*range(begin + every, end, every), end)
    }


def progressive_points(spec: ProgressiveSpec, steps: range, target: float) -> dict[int, float]:
    """Sparsities of a progressive training over `steps`, which rise linearly (Qureshi et al. 2026).

    Raises:
        RecipeError: there are fewer steps than rounds.
    """
    shares = [spec.begin + (spec.end - spec.begin) * number / spec.rounds for number in range(1, spec.rounds + 1)]
    points = {
        steps.start + round(share * len(steps)): target * number / spec.rounds for number, share in enumerate(shares, 1)
    }
    if len(points) < spec.rounds or min(points) <= steps.start:
        raise RecipeError(
            f"pruning.progressive: {spec.rounds} rounds from {spec.begin} to {spec.end} of {len(steps)} steps follow "
            "each other at once; ask for fewer, or train longer"
        )
    return points


def rise_of(pruning: PruningSpec, steps: range, target: float) -> dict[int, float]:
    """When a gradual training over `steps` prunes, and to which sparsity: see the points of both schedules."""
    if pruning.schedule == "progressive":
        return progressive_points(pruning.progressive, steps, target)
    return cubic_points(pruning.cubic, steps, target)


class RaiseSparsity(Hook):
    """Ranks again now and then and prunes to the next point of a rise; weights that fell stay out.

    points: sparsities by the number of steps done. `rank` takes the present masks and a sparsity and gives the next
    masks; `apply` makes them hold; `pruned` is called after that, but not when an interrupted training goes on.
    """

    def __init__(
        self,
        points: Mapping[int, float],
        masks: Masks,
        rank: Callable[[Masks, float], Masks],
        apply: Callable[[Masks], None],
        pruned: Callable[[], None] = lambda: None,
    ) -> None:
        self._points, self._rank, self._apply, self._pruned = dict(points), rank, apply, pruned
        self.masks = masks
        self.step = 0

    def moments(self, steps: range) -> Iterable[int]:
        """The points of the rise."""
        return (step + 1 for step in steps if step + 1 in self._points)

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Prune where a point is due; the last one is the target itself."""
        if step + 1 in self._points:
            self.step = step + 1
            self.masks = self._rank(self.masks, self._points[step + 1])
            self._apply(self.masks)
            self._pruned()

    def memory(self) -> dict[str, Tensor]:
        """The present masks."""
        return {f"mask|{name}": torch.from_numpy(mask) for name, mask in self.masks.items()}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Go on with the masks of an interrupted training."""
        self.masks = {name: memory[f"mask|{name}"].numpy() for name in self.masks}
        self._apply(self.masks)
