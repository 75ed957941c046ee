"""What a training runs on."""

import torch

from lth_deploy.measure.machine import describe_machine


def hardware_of(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else describe_machine().cpu
