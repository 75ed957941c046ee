"""A moving average of the weights while they are trained, which a training then ends with."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import AverageSpec
from lth_deploy.training.hooks import Hook
from lth_deploy.training.ranges import without_ranges

_PREFIX, _UPDATES = "average|", "average||updates"


class AverageWeights(Hook):
    """Averages parameters and the statistics of norms after each step, as YOLOX and the package timm do it.

    The n-th average is d times the one before, plus 1 - d times the present weights; d is decay (1 - exp(-n / ramp)).
    What does not change, such as a pruned zero, stays so bit for bit. Ranges of activations are not averaged.
    """

    def __init__(self, model: nn.Module, spec: AverageSpec) -> None:
        self._model, self._spec = model, spec
        self.begin()

    def begin(self) -> None:
        """Begin anew with the present weights."""
        self._updates = 0
        self._average = {name: tensor.detach().clone() for name, tensor in self._live().items()}

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Take the weights of this step in."""
        self._updates += 1
        ramp = self._spec.ramp
        decay = self._spec.decay * (1 - math.exp(-self._updates / ramp) if ramp else 1)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), list(self._live().values()), 1 - decay)

    def fill(self) -> None:
        """Give the model the average as its weights."""
        with torch.no_grad():
            for name, tensor in self._live().items():
                tensor.copy_(self._average[name])

    def memory(self) -> dict[str, Tensor]:
        """The average, and how many weights are in it."""
        return {
            **{f"{_PREFIX}{name}": tensor for name, tensor in self._average.items()},
            _UPDATES: torch.tensor(self._updates),
        }

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from the average of an interrupted training."""
        self._updates = int(memory[_UPDATES])
        for name, tensor in self._average.items():
            tensor.copy_(memory[f"{_PREFIX}{name}"])

    def _live(self) -> dict[str, Tensor]:
        state = without_ranges(self._model.state_dict(keep_vars=True))
        return {name: tensor.detach() for name, tensor in state.items() if tensor.is_floating_point()}
