"""torch.compile for a network that trains."""

import logging
from typing import Any

import torch
from torch import nn

from lth_deploy.errors import TrainingError
from lth_deploy.training.ranges import calls_in

logger = logging.getLogger(__name__)


def compiled(model: nn.Module) -> nn.Module:
    """`model` behind torch.compile, with the same parameters; itself where it trains with fake quantization.

    Detectors choose their boxes by what they compute, so torch compiles the parts between such choices.
    """
    if calls_in(dict(model.named_buffers())):
        logger.info("training.compile: not with fake quantization, which looks at each call of a function")
        return model
    return _Compiled(model)


class _Compiled(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._run = torch.compile(model)

    def forward(self, *inputs: Any) -> Any:
        """One pass.

        Raises:
            TrainingError: torch cannot compile the network here.
        """
        try:
            return self._run(*inputs)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            said = f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
            raise TrainingError(
                f"torch.compile fails on this network here ({said}); set training.compile: false"
            ) from error
