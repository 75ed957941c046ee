"""What a training runs on."""

import torch

from lth_deploy.measure.machine import describe_machine
from lth_deploy.training.ranks.process_group import current_ranks


def hardware_of(device: torch.device) -> str:
    """The GPU's name, or the processor's; with the number of ranks where there are several."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else describe_machine().cpu
    size = current_ranks().size
    return f"{name}, {size} ranks" if size > 1 else name
