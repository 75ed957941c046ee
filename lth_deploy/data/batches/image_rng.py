"""Random numbers that belong to one image in one epoch, whatever process or worker asks for them."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Draws:
    """Uniform numbers by name: functions of seed, epoch, image and name, and of nothing else."""

    seed: int
    epoch: int
    image_id: int

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        number = hashed(f"{name}/{self.seed}/{self.epoch}/{self.image_id}") >> 11
        return low + (high - low) * number / 2.0**53


def hashed(text: str) -> int:
    """64 bits that look random."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
