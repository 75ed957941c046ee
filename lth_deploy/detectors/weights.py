"""Initial weights: from a file, or from torchvision by name."""

from torch import nn

from lth_deploy.recipe import DetectorSpec


def load_initial_weights(model: nn.Module, spec: DetectorSpec, classes: int) -> None:
    """Stub."""
