"""What ranks send one another of a training: its state, its masks, and the digest by which masks are compared."""

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from lth_deploy.training.ranks.process_group import current_ranks
from lth_deploy.training.state import TrainingState


def packed_state(state: TrainingState, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights, optimizer state and masks under names of their own."""
    parts = {"model": state.model, "optimizer": state.optimizer, "mask": masks}
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def unpacked_state(tensors: Mapping[str, Tensor]) -> tuple[TrainingState, dict[str, Tensor]]:
    """State and masks that `packed_state` made."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "mask": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return TrainingState(0, parts["model"], parts["optimizer"]), parts["mask"]


def require_same_masks(trial: str, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Compare the masks of all ranks, and what of the live weights is zero under them; all ranks call it together.

    Raises:
        TrainingError: on rank 0: they differ.
    """
    fault = (
        f"{trial}: the masks of rank {{rank}} are not those of rank 0 (their digests are {{theirs:.12}} and "
        "{ours:.12}); go on with --resume from the last checkpoint, and if it happens again, test the memory of "
        "that machine"
    )
    current_ranks().require_same(mask_digest(model, masks), fault)


def mask_digest(model: nn.Module, masks: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of masks, and of the pruned weights of `model` that are not zero."""
    digest = hashlib.sha256()
    live = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    for name, mask in sorted(masks.items()):
        digest.update(f"\0{name}\0{tuple(mask.shape)}\0".encode())
        digest.update(mask.cpu().contiguous().numpy().data)
        if name in live and live[name].shape == mask.shape:
            awake = int((live[name].detach()[~mask.to(live[name].device)] != 0).sum())
            digest.update(str(awake).encode())
    return digest.hexdigest()
