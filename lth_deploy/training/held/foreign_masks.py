"""Masks that other tools have made: torch.nn.utils.prune, NNCF and SparseML, in models, state dicts and files."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lth_deploy.errors import DataError
from lth_deploy.mask import BoolArray, Masks, load_masks

LEAST_ZEROS = 0.01
"""A tensor of weights with a smaller share of zeros counts as dense: a few zeros come by accident."""
_DEEPEST = 4
_NO_MODEL = ("optim", "sched", "scaler")
"""What a checkpoint holds besides the model has these words in its keys."""
# NNCF keeps a mask in a module that runs before the layer, or, in later versions, in a hook of the weight.
_NNCF_OPERATION = re.compile(r"(?:nncf_module\.)?(?P<layer>.+)\.pre_ops\.\d+\.op\._?binary_mask")
_NNCF_HOOK = re.compile(r"(?:.+\.)?__nncf_hooks\.post_hooks\.(?P<weight>[^.]+)__\d+\.\d+\.binary_mask")
_SPARSEML = re.compile(r"(?P<weight>.+)\.sparsity_mask")


def masks_of(source: nn.Module | Mapping[str, Any] | Path | str) -> Masks:
    """The masks in a model, a state dict or a file, by the name of the parameter.

    Found are the masks of `torch.nn.utils.prune` (`weight_orig` and `weight_mask`), of NNCF and of SparseML's pruning
    modifiers; where there are none, boolean tensors; and where there are none of those, the zeros of the weights
    themselves, which is all that most checkpoints of SparseML say.

    Args:
        source: a module, a mapping of names to tensors (also inside others, as `{"state_dict": ...}`), a safetensors
            file, one that `HeldMasks.save` wrote, or a checkpoint of torch, of which nothing but tensors and plain
            containers is read.

    Raises:
        DataError: the file cannot be read, or there are neither masks nor zeros.
    """
    if isinstance(source, str | Path):
        return _of_file(Path(source))
    state = source.state_dict() if isinstance(source, nn.Module) else source
    return _of_state(_flat(state), "the model" if isinstance(source, nn.Module) else "the state")


def _of_file(path: Path) -> Masks:
    if path.suffix != ".safetensors":
        return _of_state(_flat(_load_checkpoint(path)), str(path))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if "shapes" in (file.metadata() or {}):
                return load_masks(path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except FileNotFoundError as error:
        raise DataError(f"no mask file {path}") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} is no sound safetensors file: {error}") from error
    return _of_state(tensors, str(path))


def _load_checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"no checkpoint {path}") from error
    except Exception as error:  # of many kinds, after what the file holds
        raise DataError(
            f"{path} holds more than tensors and plain containers, or is damaged; nothing else is read from it: save "
            "the state dict alone, with torch.save(model.state_dict(), ...)",
            detail=str(error),
        ) from error


def _flat(state: Any, depth: int = 0) -> dict[str, Tensor]:
    """All tensors by their own names; those of a nested mapping lose its key."""
    found: dict[str, Tensor] = {}
    if isinstance(state, Mapping) and depth < _DEEPEST:
        for key, value in state.items():
            if isinstance(value, Tensor):
                found.setdefault(str(key), value)
            elif not any(word in str(key).lower() for word in _NO_MODEL):
                for name, tensor in _flat(value, depth + 1).items():
                    found.setdefault(name, tensor)
    return found


def _of_state(tensors: Mapping[str, Tensor], where: str) -> Masks:
    masks = dict(_stored(tensors, where))
    if not masks:
        masks = {_own(name): _array(tensor) for name, tensor in tensors.items() if tensor.dtype == torch.bool}
    if not masks:
        masks = dict(_zeros(tensors))
    if not masks:
        raise DataError(
            f"{where} has no masks of torch.nn.utils.prune, NNCF or SparseML, no boolean tensors, and no weights of "
            f"which {LEAST_ZEROS:.0%} are zero; give what was pruned"
        )
    return masks


def _stored(tensors: Mapping[str, Tensor], where: str) -> Iterator[tuple[str, BoolArray]]:
    """Masks that a tool keeps beside the weights."""
    for key, tensor in tensors.items():
        name = _masked_by(key, tensors)
        if name is None:
            continue
        if not bool(((tensor == 0) | (tensor == 1)).all()):
            raise DataError(f"{where}: the mask '{key}' holds other values than 0 and 1; it is no mask of pruning")
        yield _own(name), _array(tensor)


def _masked_by(key: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The parameter that the tensor `key` is a mask of; None where it is none."""
    if key.endswith("_mask") and f"{key.removesuffix('_mask')}_orig" in tensors:
        return key.removesuffix("_mask")
    if match := _NNCF_OPERATION.fullmatch(key):
        return f"{match['layer']}.weight"
    if match := _NNCF_HOOK.fullmatch(key):
        return match["weight"].replace(":", ".")
    if match := _SPARSEML.fullmatch(key):
        return match["weight"]
    return None


def _zeros(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, BoolArray]]:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            kept = _array(tensor)
            if np.count_nonzero(kept) <= (1 - LEAST_ZEROS) * kept.size:
                yield _own(name), kept


def _own(name: str) -> str:
    """The name without what wrappers put before it."""
    for wrapper in ("module.", "_orig_mod."):
        name = name.removeprefix(wrapper)
    return name


def _array(tensor: Tensor) -> BoolArray:
    array: BoolArray = (tensor.detach().cpu() != 0).numpy()
    return array
