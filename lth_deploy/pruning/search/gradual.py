"""Gradual pruning: the zeros come little by little while the network trains."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lth_deploy.config.search_spec import CubicSpec
from lth_deploy.mask import Masks
from lth_deploy.training.hooks import Hook


def cubic_sparsity(progress: float, target: float) -> float:
    """Sparsity at `progress` 0..1 of the rise: target (1 - (1 - progress)^3) (Zhu and Gupta 2017, equation 1)."""
    return target * (1.0 - (1.0 - min(max(progress, 0.0), 1.0)) ** 3)


class RaiseSparsity(Hook):
    """Ranks again every few steps and prunes to the next point of the cubic; weights that fell stay out.

    `rank` takes the present masks and a sparsity and gives the next masks; `apply` makes them hold.
    """

    def __init__(
        self,
        spec: CubicSpec,
        steps: range,
        target: float,
        masks: Masks,
        rank: Callable[[Masks, float], Masks],
        apply: Callable[[Masks], None],
    ) -> None:
        self._begin = steps.start + round(spec.begin * len(steps))
        self._end = max(steps.start + round(spec.end * len(steps)), self._begin + 1)
        self._every = spec.every if spec.updates is None else max(1, round((self._end - self._begin) / spec.updates))
        self._target, self._rank, self._apply = target, rank, apply
        self.masks = masks

    def moments(self, steps: range) -> Iterable[int]:
        """The points of the cubic."""
        return (step + 1 for step in steps if self._due(step + 1))

    def _due(self, done: int) -> bool:
        return self._begin < done <= self._end and ((done - self._begin) % self._every == 0 or done == self._end)

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Prune where a point is due; the last one is the target itself."""
        done = step + 1
        if self._due(done):
            progress = (done - self._begin) / (self._end - self._begin)
            self.masks = self._rank(self.masks, cubic_sparsity(progress, self._target))
            self._apply(self.masks)

    def memory(self) -> dict[str, Tensor]:
        """The present masks."""
        return {f"mask|{name}": torch.from_numpy(mask) for name, mask in self.masks.items()}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Go on with the masks of an interrupted training."""
        self.masks = {name: memory[f"mask|{name}"].numpy() for name in self.masks}
        self._apply(self.masks)
