"""What the tests of the consumers share."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Export:
    """model: with a region. listed: the list of the PPM files. data, images: the same as COCO."""

    model: Path
    listed: Path
    data: Path
    images: Path


@dataclass(frozen=True)
class Consumer:
    """How to start it, with the ONNX Runtime and the kernel library of its processor."""

    command: tuple[str, ...]
    runtime: Path
    library: Path
