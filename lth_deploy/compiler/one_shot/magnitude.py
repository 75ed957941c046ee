"""Pruning an ONNX model that nobody can train any more: by the magnitude of its weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.compiler.artifact.packed_weight import stored_weights
from lth_deploy.compiler.artifact.weight_layers import WeightLayer, weight_layers, weight_users
from lth_deploy.compiler.model.grouped_reasons import grouped
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.channel_rules import weight_by_output
from lth_deploy.compiler.quantization.dequantized_weights import real_weights
from lth_deploy.errors import UsageError
from lth_deploy.layer_floor import GROUP_OUTPUTS, KEEP_AT_LEAST, floor_units, is_below_floor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerLoss:
    """A reconstructed layer: zeros, the relative error of its output, and that with as many zeros by magnitude."""

    elements: int
    zeros: int
    error: float
    magnitude_error: float


@dataclass(frozen=True)
class PruneReport:
    """What was pruned: share of zeros over the pruned layers, and layers left alone with the reason.

    losses: of each reconstructed layer, none where only magnitudes were looked at.
    """

    sparsity: float
    elements: int
    zeros: int
    pruned: tuple[str, ...]
    left: dict[str, str]
    losses: dict[str, LayerLoss] = field(default_factory=dict)


def prune_onnx(
    model: NormalizedModel, sparsity: float, *, exclude: Sequence[str] = ()
) -> tuple[NormalizedModel, PruneReport]:
    """Set the smallest weights of all layers together to zero.

    Exactly round(sparsity * n) of the n weights are zero afterwards, those that were zero before among them;
    of equal magnitudes the one in the earlier layer, and there with the lower index, is kept. Of each layer its largest
    weights stay, `KEEP_AT_LEAST` of them or the share that is kept of all, and one of each group of outputs. A weight
    that several nodes share counts once. Int8 weights count as the numbers that they stand for. `exclude`: patterns of
    weight names to leave alone.

    Raises:
        UsageError: the sparsity is not in [0, 1), a pattern matches nothing, or nothing can be pruned.
    """
    check_sparsity(sparsity)
    chosen, left = prunable(model, exclude)
    weights = [layer.stored.weights() for layer in chosen]
    total = sum(tensor.size for tensor in weights)
    masks = _keep_with_floors(model, chosen, total - round(sparsity * total))
    pruned = {
        layer.name: np.where(mask, tensor, tensor.dtype.type(0))
        for layer, tensor, mask in zip(chosen, weights, masks, strict=True)
    }
    zeros = total - sum(int(np.count_nonzero(w[m])) for w, m in zip(weights, masks, strict=True))
    report = PruneReport(zeros / total, total, zeros, tuple(layer.name for layer in chosen), left)
    return model.with_tensors(pruned), report


def _keep_with_floors(model: NormalizedModel, layers: Sequence[WeightLayer], kept: int) -> list[Array]:
    """Masks of the largest magnitudes; where that takes layers below their floor, of these and the floors."""
    magnitudes = [np.abs(real_weights(model.proto, layer)) for layer in layers]
    masks = keep_largest(magnitudes, kept)
    users = weight_users(model.proto, stored_weights(model.proto))
    axes = {name: weight_by_output(node) for node, name in users}
    share = min(KEEP_AT_LEAST, kept / max(sum(one.size for one in magnitudes), 1))
    below, floors = [], []
    for layer, scores, mask in zip(layers, magnitudes, masks, strict=True):
        first, left = (np.moveaxis(one, axes[layer.name], 0) for one in (scores, mask))
        if is_below_floor(left & (first > 0), first > 0, GROUP_OUTPUTS, share):
            below.append(layer.name)
        floors.append(np.moveaxis(floor_units(first, first > 0, GROUP_OUTPUTS, share), 0, axes[layer.name]))
    if not below:
        return masks
    held = f"{len(below)} of {len(layers)} layers ({', '.join(below[:4])}{', ...' * (len(below) > 4)})"
    if sum(int(np.count_nonzero(floor)) for floor in floors) > kept:
        log.warning(
            "%s lose all weights of some outputs: so few are kept that not every group of outputs has one", held
        )
        return masks
    log.info("%s would have lost almost all weights; their largest ones stay, and others are pruned instead", held)
    return keep_largest([np.where(floor, np.inf, one) for floor, one in zip(floors, magnitudes, strict=True)], kept)


def keep_largest(weights: Sequence[Array], kept: int) -> list[Array]:
    """Boolean masks of the `kept` largest magnitudes over all tensors; see `prune_onnx` for ties."""
    magnitudes = np.concatenate([np.abs(tensor).reshape(-1) for tensor in weights])
    mask = np.zeros(magnitudes.size, np.bool_)
    if kept > 0:
        threshold = np.partition(magnitudes, magnitudes.size - kept)[magnitudes.size - kept]
        np.greater(magnitudes, threshold, out=mask)
        ties = np.flatnonzero(magnitudes == threshold)
        mask[ties[: kept - int(np.count_nonzero(mask))]] = True
    ends = np.cumsum([tensor.size for tensor in weights])[:-1]
    parts = np.split(mask, ends)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, weights, strict=True)]


def check_sparsity(sparsity: float) -> None:
    """Refuse what is no share.

    Raises:
        UsageError: it is not in [0, 1).
    """
    if not 0.0 <= sparsity < 1.0:
        raise UsageError(f"sparsity {sparsity} is not in [0, 1); 0.8 keeps one weight in five")


def prunable(model: NormalizedModel, exclude: Sequence[str]) -> tuple[list[WeightLayer], dict[str, str]]:
    """The layers of a model that may be pruned, and why others are left alone.

    Raises:
        UsageError: a pattern of `exclude` matches nothing, or nothing can be pruned.
    """
    layers = weight_layers(model.proto)
    left = _left_alone(layers, exclude)
    for layer in layers:
        if layer.name not in left and layer.stored.int8:
            try:
                real_weights(model.proto, layer)
            except UsageError as error:
                left[layer.name] = str(error)
    chosen = [layer for layer in layers if layer.name not in left]
    if not chosen:
        raise UsageError(f"the model has no weights that can be pruned: {grouped(left) or 'it has no layers'}")
    return chosen, left


def _left_alone(layers: Sequence[WeightLayer], exclude: Sequence[str]) -> dict[str, str]:
    for pattern in exclude:
        if not any(fnmatchcase(layer.name, pattern) for layer in layers):
            names = ", ".join(layer.name for layer in layers[:8])
            raise UsageError(f"the pattern '{pattern}' matches no weight; weights are: {names}, ...")
    left = {layer.name: layer.obstacle for layer in layers if layer.obstacle is not None}
    for layer in layers:
        for pattern in exclude:
            if fnmatchcase(layer.name, pattern):
                left.setdefault(layer.name, f"excluded by '{pattern}'")
    return left
