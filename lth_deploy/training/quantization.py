"""Quantization-aware training: a detector that computes with fake quantization, and the ranges it learns meanwhile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.errors import TrainingError
from lth_deploy.training.hooks import Hook
from lth_deploy.training.quantized_pass import QuantizedPass
from lth_deploy.training.ranges import add_ranges, calls_in, count_calls, without_ranges
from lth_deploy.training.state import TrainingState

Images = Sequence[Tensor]


class FakeQuantization:
    """Makes every pass of a model a quantized one; ranges follow what passes through while `observing`."""

    def __init__(self, model: nn.Module, calls: Mapping[str, int]) -> None:
        """`calls`: the layers to quantize and how often each runs in a pass."""
        self.observing = False
        self._calls = dict(calls)
        self._passes: list[QuantizedPass] = []
        add_ranges(model, calls)
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end, always_call=True)

    def _begin(self, model: nn.Module, _: object) -> None:
        one = QuantizedPass(model, self._calls, self.observing)
        one.__enter__()  # type: ignore[no-untyped-call]
        self._passes.append(one)

    def _end(self, model: nn.Module, inputs: object, result: object) -> None:
        one = self._passes.pop()
        one.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        if self.observing and result is not None:
            one.move_ranges()


class FreezeRanges(Hook):
    """Ranges follow the activations in steps before `until`, and then stay, so that the weights can settle on them."""

    def __init__(self, quantization: FakeQuantization, until: int) -> None:
        self._quantization, self._until = quantization, until

    def before_step(self, step: int) -> None:
        """Observe, or no longer."""
        self._quantization.observing = step < self._until

    def for_all_ranks(self) -> dict[str, int]:
        """The step from which ranges stay."""
        return {"freeze_ranges": self._until}

    def after_step(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Between steps nothing is observed."""
        self._quantization.observing = False


def calibrate(model: nn.Module, layers: Iterable[str], batches: Sequence[Images]) -> FakeQuantization:
    """Quantize those `layers` of `model` that run, with ranges from `batches` of images; leaves it in evaluation mode.

    Raises:
        TrainingError: none of the layers runs.
    """
    model.eval()
    with torch.no_grad():
        calls = count_calls(model, layers, lambda: model(list(batches[0])))
        if not calls:
            raise TrainingError("quantization.float_layers leaves no layer to quantize; shorten it")
        quantization = FakeQuantization(model, calls)
        quantization.observing = True
        for images in batches:
            model(list(images))
    quantization.observing = False
    return quantization


def restored(model: nn.Module, state: TrainingState, *, rounding: bool = True) -> nn.Module:
    """The detector whose `state` this is: `model` itself, or its quantized form if the state has ranges.

    rounding: whether that one computes with fake quantization; otherwise it is a float detector with norms folded.

    Raises:
        DataError: the state is of another model.
    """
    if rounding:
        return rebuilt(model, state)[0]
    if calls_in(state.model):
        model, state = fold_norm(model).module, replace(state, model=without_ranges(state.model))
    state.restore(model)
    return model


def rebuilt(model: nn.Module, state: TrainingState) -> tuple[nn.Module, FakeQuantization | None]:
    """What `restored` gives, and its fake quantization where it has one.

    Raises:
        DataError: the state is of another model.
    """
    calls, quantization = calls_in(state.model), None
    if calls:
        model = fold_norm(model).module
        quantization = FakeQuantization(model, calls)
    state.restore(model)
    return model, quantization
