"""A digest of everything that a saved state holds, kept inside its own file.

A checkpoint is replaced every minute. Were its digest in another file, a kill between the two writes would make a sound
checkpoint look damaged.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest_of(numbers: str, tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of a text with numbers and of CPU tensors with their names, types and shapes."""
    digest = hashlib.sha256(numbers.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
