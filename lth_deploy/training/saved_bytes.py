"""How much memory a training step needs for what its forward pass keeps."""

import torch
from torch import Tensor, nn


def saved_bytes(model: nn.Module, size: tuple[int, int], half: torch.dtype | None) -> int:
    """Bytes that a forward pass of `model` keeps for its backward pass, on one random image of `size` [H, W].

    half: the type of passes in half precision. Parameters and buffers are not counted, and memory once only. What
    kernels need for themselves comes on top.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict(keep_vars=True).values()}
    kept: dict[int, int] = {}
    held: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)  # so that no later tensor gets the same address
        return tensor

    height, width = size
    target = {
        "boxes": torch.tensor([[0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]]),
        "labels": torch.tensor([1]),
        "image_id": torch.tensor([1]),
        "masks": torch.ones(1, height, width, dtype=torch.uint8),
        "keypoints": torch.tensor([[[0.5 * width, 0.5 * height, 2.0]]]).repeat(1, _keypoints(model), 1),
    }
    training = model.training
    autocast = torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None)
    with torch.random.fork_rng(devices=[]), autocast, torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        torch.manual_seed(0)
        model.train()([torch.rand(3, height, width)], [target])
    model.train(training)
    return sum(kept.values())


def _keypoints(model: nn.Module) -> int:
    """How many points a pose of this network has; one where it has no poses."""
    heads = [layer for name, layer in model.named_modules() if name.endswith("kps_score_lowres")]
    return int(getattr(heads[0], "out_channels", 1)) if heads else 1
