"""Tickets without training: the dense weights, pruned and solved for layer by layer on a few batches of images.

What a layer's mean output loses moves into its bias, or into the statistics of the batch norm behind it.
"""

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lth_deploy.detectors.fold_norm import norms_behind
from lth_deploy.detectors.groups import final_predictors, prunable_modules
from lth_deploy.mask import Masks
from lth_deploy.pruning.scope import ScopedLayer
from lth_deploy.reconstruction.columns import FloatArray, Geometry, columns
from lth_deploy.reconstruction.layer import LayerProblem
from lth_deploy.reconstruction.moments import Matrix, Moments
from lth_deploy.reconstruction.network import PROBED_IMAGES, error_curves, zeros_of
from lth_deploy.structures import RECONSTRUCTED

logger = logging.getLogger(__name__)

MOST_SAMPLES = 4096
"""Samples of a layer over all images."""


@dataclass(frozen=True)
class _Seen:
    """A layer to reconstruct, and the tensor that its bias goes into: by name, and whether added or taken away."""

    layer: ScopedLayer
    geometry: Geometry
    bias: tuple[str, int] | None

    @property
    def weight(self) -> Tensor:
        """The weights, live."""
        weight = self.layer.module.weight
        assert isinstance(weight, Tensor)
        return weight


def reconstruct(
    model: nn.Module, layers: Sequence[ScopedLayer], images: Sequence[Tensor], sparsity: float, structure: str
) -> tuple[nn.Module, Masks]:
    """A copy of `model` in which a share of the weights of `layers` is zero, and the masks of what is left.

    Args:
        model: a trained detector; left in evaluation mode.
        layers: what may be pruned.
        images: float32 [3, H, W] in 0..1, some tens of them.
        sparsity: share of zeros over all layers together; N:M has its own.
        structure: a name in RECONSTRUCTED.

    Raises:
        UsageError: the layers cannot take so many zeros.
        DataError: no image reaches a layer, or what does is not finite.
    """
    pruned_together = RECONSTRUCTED[structure]
    twin = copy.deepcopy(model).eval()
    modules, norms = prunable_modules(twin), norms_behind(twin)
    seen = [_seen(layer, modules[layer.module_name], norms) for layer in layers]
    moments = _collect(twin, seen, images)
    problems = {
        one.layer.name: LayerProblem(moments[one.layer.name], one.geometry.taps(tuple(one.weight.shape)))
        for one in seen
    }
    probed = images[:: max(1, len(images) // PROBED_IMAGES)][:PROBED_IMAGES]
    curves = error_curves(problems, pruned_together, lambda probes: _effects(twin, seen, probes, probed))
    zeros = zeros_of(problems, pruned_together, curves, sparsity)
    masks: Masks = {}
    for one in seen:
        name, problem = one.layer.name, problems[one.layer.name]
        rows = problem.prune(zeros[name], pruned_together)
        weights = _weights(one, rows)
        masks[name] = weights != 0
        logger.info(
            "%s: %.0f %% zeros, error of its output %.1f %%",
            name,
            100 * (1 - masks[name].mean()),
            100 * problem.error(rows),
        )
        _put(twin, one, weights, rows)
    return twin, masks


def _seen(layer: ScopedLayer, module: nn.Module, norms: Mapping[str, str]) -> _Seen:
    own = ScopedLayer(layer.name, layer.module_name, module, layer.group)
    bias = None
    if getattr(module, "bias", None) is not None:
        bias = (f"{layer.module_name}.bias", 1)
    elif layer.module_name in norms:
        bias = (f"{norms[layer.module_name]}.running_mean", -1)
    if isinstance(module, nn.Linear):
        return _Seen(own, Geometry("linear"), bias)
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    assert not isinstance(module.padding, str)
    transposed = isinstance(module, nn.ConvTranspose2d)
    geometry = Geometry(
        "transposed" if transposed else "conv",
        tuple(module.stride),
        (*module.padding, *module.padding),
        tuple(module.dilation),
        tuple(module.output_padding) if transposed else (),
        module.groups,
    )
    return _Seen(own, geometry, bias)


@torch.no_grad()
def _collect(model: nn.Module, layers: Sequence[_Seen], images: Sequence[Tensor]) -> dict[str, Moments]:
    """Moments of the layers' inputs over all images."""
    tensors = model.state_dict()
    sums = {}
    for one in layers:
        weights = one.weight.detach().float().cpu().numpy()
        bias = None
        if one.bias is not None:
            bias = one.bias[1] * tensors[one.bias[0]].float().cpu().numpy()
        sums[one.layer.name] = Moments(one.geometry.rows(weights), bias)
    most = max(1, MOST_SAMPLES // len(images))
    for number, image in enumerate(images):
        with _inputs(layers) as reached:
            model([image])
        for one in layers:
            inputs = reached[one.layer.name]
            for x in inputs:
                kernel = tuple(one.weight.shape[2:])
                sums[one.layer.name].add(columns(x, one.geometry, kernel, max(1, most // len(inputs)), number))
        if number % 8 == 7:
            logger.info("calibration: %d of %d images", number + 1, len(images))
    for name, moments in sums.items():
        moments.check(name)
    return sums


@contextmanager
def _inputs(layers: Iterable[_Seen]) -> Iterator[dict[str, list[FloatArray]]]:
    """What reaches each layer while the block runs, once for each call."""
    found: dict[str, list[FloatArray]] = {one.layer.name: [] for one in layers}

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda module, inputs: found[name].append(inputs[0].detach().float().cpu().numpy())

    hooks = [one.layer.module.register_forward_pre_hook(keep(one.layer.name)) for one in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _effects(
    model: nn.Module, layers: Sequence[_Seen], probes: Mapping[str, Matrix], images: Sequence[Tensor]
) -> dict[str, float]:
    """Squared relative error of the final predictors, summed, when one layer alone has other weights."""
    exact = _answers(model, images)
    found = {}
    for one in layers:
        kept = one.weight.detach().clone()
        one.weight.copy_(torch.from_numpy(_weights(one, probes[one.layer.name])))
        found[one.layer.name] = _difference(_answers(model, images), exact)
        one.weight.copy_(kept)
    return found


def _answers(model: nn.Module, images: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Outputs of the final predictors, or of the last layer where a network has none."""
    modules = prunable_modules(model)
    names = final_predictors(model) or {list(modules)[-1]}
    found: dict[str, list[Tensor]] = {name: [] for name in sorted(names)}

    def keep(name: str):  # type: ignore[no-untyped-def]
        return lambda module, inputs, output: found[name].append(output.double())

    hooks = [modules[name].register_forward_hook(keep(name)) for name in found]
    try:
        for image in images:
            model([image])
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _difference(found: Mapping[str, Sequence[Tensor]], exact: Mapping[str, Sequence[Tensor]]) -> float:
    """Predictors that saw another number of regions cannot be compared, and are left out."""
    total = 0.0
    for name, wanted in exact.items():
        if [one.shape for one in found[name]] != [one.shape for one in wanted]:
            continue
        power = sum(float(one.square().sum()) for one in wanted)
        lost = sum(float((a - b).square().sum()) for a, b in zip(found[name], wanted, strict=True))
        total += lost / power if power > 0 else 0.0
    return total


def _weights(one: _Seen, rows: Matrix) -> FloatArray:
    free = rows.shape[-1] - (one.bias is not None)
    return np.ascontiguousarray(one.geometry.weights(rows[..., :free], tuple(one.weight.shape)), np.float32)


@torch.no_grad()
def _put(model: nn.Module, one: _Seen, weights: FloatArray, rows: Matrix) -> None:
    one.weight.copy_(torch.from_numpy(weights))
    if one.bias is not None:
        name, sign = one.bias
        model.state_dict()[name].copy_(torch.from_numpy(sign * rows[..., -1].reshape(-1).astype(np.float32)))
