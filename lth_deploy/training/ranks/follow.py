"""What ranks other than 0 do: their share of each step, as rank 0 says."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from lth_deploy.config.training_spec import TrainingSpec
from lth_deploy.training.hooks import Hook, KeepMask
from lth_deploy.training.loop import BatchSource, Stepper, one_step
from lth_deploy.training.optimizer import build_optimizer
from lth_deploy.training.quantization import FreezeRanges, rebuilt
from lth_deploy.training.ranks.process_group import Message, current_ranks
from lth_deploy.training.ranks.states import require_same_masks, unpacked_state
from lth_deploy.training.session import in_layout, prune_live


class FollowedTraining:
    """The training of one trial on a rank that does not lead: no files, no decisions."""

    def __init__(
        self, spec: TrainingSpec, device: torch.device, fresh: nn.Module, batches: BatchSource, message: Message
    ) -> None:
        """`fresh`: the network of the recipe on the CPU. `message`: by which rank 0 began the training."""
        self._spec, self._device, self._batches, self._message = spec, device, batches, message
        self._fresh, self._open = fresh, ExitStack()

    def begin(self, tensors: dict[str, Tensor]) -> None:
        """Take over state and masks of rank 0."""
        state, self._masks = unpacked_state(tensors)
        model, quantization = rebuilt(self._fresh, state.weights_only())
        self._model = in_layout(model.to(self._device), self._spec)
        self._optimizer = build_optimizer(self._model, self._spec.optimizer)
        self._stepper = Stepper(self._model, self._optimizer, self._spec, self._device)
        state.restore(self._model, self._optimizer)
        if self._message["scaler"]:
            self._stepper.scaler.load_state_dict(self._message["scaler"])
        self._keep = KeepMask(self._model, self._masks)
        self._hooks: list[Hook] = [self._keep]
        if quantization is not None:
            self._hooks.append(FreezeRanges(quantization, self._message["freeze_ranges"]))
        self.compare_masks()
        self._model.train()
        self._open.enter_context(self._stepper.on_all_ranks())

    def step(self, message: Message) -> None:
        """This rank's share of one optimizer step."""
        step = message["step"]
        for hook in self._hooks:
            hook.before_step(step)
        ranks = current_ranks()
        ranks.working = True
        losses = one_step(self._stepper, self._batches, step, message["rate"], self._hooks)
        ranks.working = False
        for hook in self._hooks:
            hook.after_step(step, losses)

    def prune(self, masks: dict[str, Tensor]) -> None:
        """From now on `masks` hold."""
        self._masks = masks
        prune_live(self._model, self._optimizer, self._keep, masks)

    def rewind(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a state of rank 0."""
        unpacked_state(tensors)[0].restore(self._model, self._optimizer)

    def compare_masks(self) -> None:
        """Let rank 0 compare the masks."""
        require_same_masks("", self._model, self._masks)

    def end(self) -> None:
        """Give back the wrapped model."""
        self._open.close()
