"""The hook that lets callbacks know of epochs."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from lth_deploy.run.callbacks import Callbacks
from lth_deploy.training.hooks import Hook


class ReportEpochs(Hook):
    """Calls `epoch` when an epoch or the training ends. Only there the losses are read, for which a GPU has to wait."""

    def __init__(
        self, callbacks: Callbacks, trial: str, steps: range, per_epoch: int, rate: Callable[[int], float]
    ) -> None:
        self._callbacks, self._trial, self._steps = callbacks, trial, steps
        self._per_epoch, self._rate = max(1, per_epoch), rate

    def moments(self, steps: range) -> Iterable[int]:
        """None: it looks on, and must not cut a user's training into pieces."""
        return ()

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Report at the end of an epoch."""
        done = step + 1
        if not self._callbacks.members or (done % self._per_epoch and done != self._steps.stop):
            return
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self._callbacks.epoch(self._trial, done / self._per_epoch, done, values, self._rate(step))
