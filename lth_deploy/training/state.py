"""The state of a training as tensors on the CPU: always a copy, never a reference to live weights."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.training.optimizer import SLOTS, reset_optimizer
from lth_deploy.training.state_digest import digest_of

logger = logging.getLogger(__name__)


_MOST_STEPS = 2**53


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next step depends on, besides recipe and seed.

    step: optimizer steps done. model: parameters and buffers by name. optimizer: "parameter name|slot" to
    tensor, for instance momentum. scaler: state of the loss scaler under fp16. memory: what hooks remember, as
    "kind|parameter name". seconds: time spent to get here, which only a checkpoint knows; no step depends on it.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def capture(
        cls,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scaler: torch.amp.GradScaler | None = None,
        memory: Mapping[str, Tensor] | None = None,
    ) -> "TrainingState":
        """A deep copy of what is live now."""
        return cls(
            step,
            {name: _copy(tensor) for name, tensor in model.state_dict().items()},
            _optimizer_tensors(model, optimizer) if optimizer else {},
            scaler.state_dict() if scaler and scaler.is_enabled() else {},
            {name: _copy(tensor) for name, tensor in (memory or {}).items()},
        )

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Copy this state into live objects.

        Raises:
            DataError: the model or the optimizer has other tensors than the state.
        """
        try:
            model.load_state_dict(self.model)
        except RuntimeError as error:
            raise DataError(f"the saved state does not fit the model: {error}") from error
        if optimizer is not None:
            _restore_optimizer(self.optimizer, model, optimizer)
        if scaler is not None and self.scaler:
            try:
                scaler.load_state_dict(self.scaler)
            except (KeyError, RuntimeError, TypeError) as error:
                raise DataError(f"the saved state of the loss scaler is damaged: {error!r}") from error

    def weights_only(self, step: int = 0) -> "TrainingState":
        """The same weights with a fresh optimizer, at `step`."""
        return TrainingState(step, self.model)

    def masked(self, masks: dict[str, Tensor]) -> "TrainingState":
        """Pruned weights and their optimizer state set to zero; other tensors are shared, not copied."""
        model = {name: _zeroed(tensor, masks.get(name)) for name, tensor in self.model.items()}
        optimizer = {key: _zeroed(tensor, masks.get(key.rsplit("|", 1)[0])) for key, tensor in self.optimizer.items()}
        return replace(self, model=model, optimizer=optimizer)

    def save(self, path: Path, *, with_digest: bool = False) -> None:
        """One safetensors file, written atomically. with_digest: for files that no manifest lists."""
        from safetensors.torch import save_file

        tensors = {f"model/{name}": tensor for name, tensor in self.model.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.items()}
        tensors |= {f"memory/{name}": tensor for name, tensor in self.memory.items()}
        numbers = {"step": self.step, "scaler": self.scaler} | ({"seconds": self.seconds} if self.seconds else {})
        metadata = {"state": json.dumps(numbers)}
        if with_digest:
            metadata["digest"] = digest_of(metadata["state"], tensors)
        storage.write_atomically(path, lambda file: save_file(tensors, file, metadata=metadata))

    @classmethod
    def load(cls, path: Path, *, needs_digest: bool = False) -> "TrainingState":
        """Read what `save` wrote, and check its digest where there is one.

        needs_digest: say so where there is none; earlier versions wrote checkpoints without.

        Raises:
            DataError: missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "memory": {}}
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
            _check_digest(path, metadata, tensors, needs_digest)
            state = json.loads(metadata["state"])
            for key, tensor in tensors.items():
                part, _, name = key.partition("/")
                parts[part][name] = tensor
            step, seconds = state["step"], state.get("seconds", 0.0)
            if type(step) is not int or not 0 <= step <= _MOST_STEPS:
                raise ValueError(f"the step is {str(step)[:40]}")
            if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
                raise ValueError(f"the seconds are {str(seconds)[:40]}")
            return cls(
                step, parts["model"], parts["optimizer"], dict(state["scaler"]), parts["memory"], seconds=float(seconds)
            )
        except FileNotFoundError as error:
            raise DataError(f"no saved state {path}") from error
        except (
            SafetensorError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise DataError(f"{path} is not a saved training state: {error!r}") from error


def _check_digest(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], needed: bool) -> None:
    digest = metadata.get("digest")
    if digest is None:
        if needed:
            logger.info("%s has no digest, since an earlier version wrote it; it is taken as it is", path)
    elif digest != digest_of(metadata["state"], tensors):
        raise DataError(f"{path} has changed since it was written: its digest does not fit")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _zeroed(tensor: Tensor, mask: Tensor | None) -> Tensor:
    # A product would leave -0.0 where a negative weight was; scalars such as Adam's step count have no mask.
    fits = mask is not None and tensor.shape == mask.shape
    return torch.where(mask, tensor, 0) if mask is not None and fits else tensor


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}|{slot}"] = _copy(value)
    return tensors


def _restore_optimizer(tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    reset_optimizer(optimizer)
    parameters = dict(model.named_parameters())
    slots = SLOTS[type(optimizer)]
    found: dict[str, set[str]] = {}
    for key, value in tensors.items():
        name, _, slot = key.rpartition("|")
        parameter = parameters.get(name)
        if parameter is None or slot not in slots:
            raise DataError(
                f"the saved state holds '{key[:200]}', which is nothing that the optimizer of this model keeps"
            )
        # Moments must lie in memory as their parameter does; the step count of Adam is a scalar.
        if value.shape != (() if slot == "step" else parameter.shape):
            raise DataError(f"the saved state holds '{key[:200]}' in the shape {list(value.shape)}")
        like = torch.empty_like(value) if slot == "step" else torch.empty_like(parameter)
        optimizer.state[parameter][slot] = like.to(parameter.device).copy_(value).detach()
        found.setdefault(name, set()).add(slot)
    for name, own in found.items():
        if own != slots:
            raise DataError(f"the saved state of '{name[:200]}' lacks {', '.join(sorted(slots - own))}")
