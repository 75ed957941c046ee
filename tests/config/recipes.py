"""A small recipe for tests."""

from pathlib import Path

MINIMAL = """\
name: small
detector:
  name: retinanet
  backbone: resnet18
  min_size: 96
  max_size: 96
data:
  format: shapes
training:
  steps: 10
  optimizer: {lr: 1e-3}
pruning:
  levels: [0.5, 0.8]
  rewind: {step: 2}
"""


def write(folder: Path, text: str = MINIMAL) -> Path:
    """The recipe as a file."""
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path
