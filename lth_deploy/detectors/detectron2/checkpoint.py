"""Checkpoints of detectron2: `.pth` of its trainer and `.pkl` of its model zoo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lth_deploy.detectors.detectron2.pickled_arrays import read_pickle
from lth_deploy.detectors.weights import read_state, require_file
from lth_deploy.errors import DataError

CAFFE2 = ("blobs", "matching_heuristics")
"""Keys of backbones from Caffe2, whose layers have other names."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by detectron2's names.

    Raises:
        DataError: the file cannot be read, holds code, or is no checkpoint of a whole detector.
    """
    require_file(path)
    if path.suffix != ".pkl":
        return read_state(path)
    content = read_pickle(path)
    if not isinstance(content, Mapping) or any(key in content for key in CAFFE2):
        raise DataError(
            f"{path}: holds a backbone of Caffe2 or something else, not the state of a detector of detectron2; "
            "give the checkpoint of the trained detector"
        )
    state = content.get("model", content)
    return {str(name): _tensor(path, str(name), value) for name, value in _items(path, state)}


def _items(path: Path, state: Any) -> Any:
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{path}: holds no tensors by name; give the checkpoint of a trained detector")
    return state.items()


def _tensor(path: Path, name: str, value: Any) -> Tensor:
    if not isinstance(value, np.ndarray):
        raise DataError(f"{path}: entry '{name}' is a {type(value).__name__}, not a tensor")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise DataError(f"{path}: tensor '{name}' has values that are not finite; use another file")
    return torch.from_numpy(np.ascontiguousarray(value).copy())
