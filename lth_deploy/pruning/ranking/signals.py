"""What data-dependent criteria look at, measured on a copy of a model: one array for each layer that may be pruned."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lth_deploy.errors import RecipeError
from lth_deploy.training.hooks import Hook
from lth_deploy.training.loop import Batch

Signals = dict[str, npt.NDArray[np.float32]]
FLOW_SIZE = 128
"""Side of the image of ones; the flow depends on it only through borders and strides."""
WITHOUT_FLOW = (nn.GroupNorm, nn.ReLU6, nn.Hardsigmoid)


def loss_gradient(
    model: nn.Module, names: Sequence[str], batches: Iterable[Batch], device: torch.device, seed: int
) -> Signals:
    """The gradient of the summed loss over `batches` with respect to the parameters `names`, frozen ones included.

    The model is in training mode, as it will be when it learns. `model` itself is left as it is.
    """
    twin = copy.deepcopy(model).to(device).train()
    parameters = _learnable(twin, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for images, targets in batches:
            placed = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in t.items()} for t in targets]
            losses: dict[str, Tensor] = twin([image.to(device) for image in images], placed)
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return {name: _array(parameter.grad, parameter) for name, parameter in parameters.items()}


def synaptic_flow(
    model: nn.Module,
    names: Sequence[str],
    outputs: Callable[[nn.Module, Tensor], Sequence[Tensor]],
    side: int = FLOW_SIZE,
) -> Signals:
    """The gradient dR / d|w|, scaled so that R is 1: R is the sum of `outputs` for an image of ones through |w|.

    Biases and what norms subtract are left out, so that the network is linear and every layer has the same flow.

    Raises:
        RecipeError: the model has group norms, which undo any scale before them, or activations that saturate.
    """
    unfit = {type(module).__name__ for module in model.modules() if isinstance(module, WITHOUT_FLOW)}
    if unfit:
        raise RecipeError(
            f"pruning.criterion 'synflow' needs a network that is linear for positive weights; this one has "
            f"{' and '.join(sorted(unfit))}: choose another criterion, or a detector on a ResNet with batch norms"
        )
    # Products of a hundred layers overflow float32.
    twin = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for name, tensor in twin.state_dict().items():
            tensor.abs_() if name.endswith(("weight", "running_var")) else tensor.zero_()
    parameters = _learnable(twin, names)
    ones = torch.ones(1, 3, side, side, dtype=torch.float64, device=next(twin.parameters()).device)
    flow = torch.stack([output.sum() for output in outputs(twin, ones)]).sum()
    flow.backward()  # type: ignore[no-untyped-call]
    scale = flow.item() or 1.0
    return {name: _array(parameter.grad, parameter, scale) for name, parameter in parameters.items()}


class SumMovement(Hook):
    """Adds up -w dL/dw of every step, the movement of each weight away from zero."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        parameters = dict(model.named_parameters())
        self._parameters = {name: parameters[name] for name in names}
        self._sums = {name: torch.zeros_like(parameter) for name, parameter in self._parameters.items()}

    def after_backward(self, step: int) -> None:
        """Add this step's."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.grad is not None:
                    # Half precision overflows now and then, and the optimizer skips such a step.
                    gradient = parameter.grad.nan_to_num(0.0, 0.0, 0.0)
                    self._sums[name].addcmul_(parameter, gradient, value=-1)

    def memory(self) -> dict[str, Tensor]:
        """The sums."""
        return {f"movement|{name}": value for name, value in self._sums.items()}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from the sums of an interrupted training."""
        for name, value in self._sums.items():
            value.copy_(memory[f"movement|{name}"])


def movement(memory: Mapping[str, Tensor]) -> Signals:
    """The sums of `SumMovement` out of what a training remembers."""
    prefix = "movement|"
    return {
        key.removeprefix(prefix): value.float().cpu().numpy() for key, value in memory.items() if key.startswith(prefix)
    }


def _learnable(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Parameter]:
    model.zero_grad(set_to_none=True)
    parameters = {name: model.get_parameter(name) for name in names}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return parameters


def _array(gradient: Tensor | None, parameter: Tensor, scale: float = 1.0) -> npt.NDArray[np.float32]:
    # A layer that no batch reached, a head without regions for instance, has no say.
    values = torch.zeros_like(parameter) if gradient is None else gradient / scale
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(np.float32))
