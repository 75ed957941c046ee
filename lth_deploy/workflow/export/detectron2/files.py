"""What `export --detectron2` is given."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Detectron2Files:
    """config: a YAML configuration, with those that it stands on beside it. weights: a checkpoint, `.pth` or `.pkl`."""

    config: Path
    weights: Path
