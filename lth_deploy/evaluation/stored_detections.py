"""Detections of a whole data set in one safetensors file, so that they are made once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lth_deploy import storage
from lth_deploy.arrays import Arrays
from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_rows import CompactDetections

_TYPES = {
    "images": np.int64,
    "counts": np.int64,
    "boxes": np.float32,
    "scores": np.float32,
    "labels": np.int64,
    "keypoints": np.float32,
    "mask_sizes": np.int64,
    "mask_lengths": np.int64,
    "mask_bytes": np.uint8,
}


def save_detections(path: Path, found: Mapping[int, CompactDetections]) -> None:
    """Write detections by image id: their rows one after another, masks as run-length bytes."""
    from safetensors.numpy import save_file

    arrays = _arrays(found)
    storage.write_atomically(path, lambda file: save_file(arrays, file, metadata={"digest": _digest(arrays)}))


def load_detections(path: Path) -> dict[int, CompactDetections]:
    """What `save_detections` wrote; its digest is checked, which files of earlier versions do not have.

    Raises:
        DataError: the file is damaged, or its arrays do not agree.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            digest = (file.metadata() or {}).get("digest")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"cannot read the detections in {path}: {error}; delete the file") from error
    if digest is not None and digest != _digest(arrays):
        raise DataError(f"{path} has changed since it was written: its digest does not fit; delete the file")
    fault = _fault(arrays)
    if fault:
        raise DataError(f"{path} holds no detections: {fault}; delete the file")
    return _found(arrays)


def pack_detections(found: Mapping[int, CompactDetections]) -> bytes:
    """Detections by image id as bytes, for another process."""
    from safetensors.numpy import save

    return save(_arrays(found))


def unpack_detections(data: bytes) -> dict[int, CompactDetections]:
    """What `pack_detections` made.

    Raises:
        DataError: the arrays do not agree.
    """
    from safetensors.numpy import load

    arrays = load(data)
    fault = _fault(arrays)
    if fault:
        raise DataError(f"another process sent no detections: {fault}")
    return _found(arrays)


def _arrays(found: Mapping[int, CompactDetections]) -> Arrays:
    detections = list(found.values())
    arrays: Arrays = {
        "images": np.array(list(found), np.int64),
        "counts": np.array([len(of_image) for of_image in detections], np.int64),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(of_image.boxes for of_image in detections)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(of_image.scores for of_image in detections)]),
        "labels": np.concatenate([np.zeros(0, np.int64), *(of_image.labels for of_image in detections)]),
    }
    points = [of_image.keypoints for of_image in detections if of_image.keypoints is not None and len(of_image)]
    if points:
        arrays["keypoints"] = np.concatenate(points).astype(np.float32)
    masks = [mask for of_image in detections for mask in of_image.masks or ()]
    if masks:
        arrays["mask_sizes"] = np.array([mask["size"] for mask in masks], np.int64)
        arrays["mask_lengths"] = np.array([len(mask["counts"]) for mask in masks], np.int64)
        arrays["mask_bytes"] = np.frombuffer(b"".join(mask["counts"] for mask in masks), np.uint8)
    return arrays


def _found(arrays: Arrays) -> dict[int, CompactDetections]:
    ends = np.cumsum(arrays["counts"])
    masks = _masks(arrays) if "mask_sizes" in arrays else None
    found = {}
    for image, start, end in zip(arrays["images"].tolist(), ends - arrays["counts"], ends, strict=True):
        rows = slice(int(start), int(end))
        found[image] = CompactDetections(
            arrays["boxes"][rows],
            arrays["scores"][rows],
            arrays["labels"][rows],
            None if masks is None else tuple(masks[rows]),
            arrays["keypoints"][rows] if "keypoints" in arrays else None,
        )
    return found


def _digest(arrays: Arrays) -> str:
    """Hex SHA-256 of arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _fault(arrays: Arrays) -> str | None:
    """What is wrong with the arrays of a file, in words."""
    missing = {"images", "counts", "boxes", "scores", "labels"} - set(arrays)
    if missing:
        return f"it lacks {', '.join(sorted(missing))}"
    for name, array in arrays.items():
        if name not in _TYPES or array.dtype != _TYPES[name]:
            return f"'{name}' is {array.dtype}"
    counts = arrays["counts"]
    rows = int(counts.sum()) if counts.ndim == 1 and (counts >= 0).all() else -1
    shapes = {"images": counts.shape, "boxes": (rows, 4), "scores": (rows,), "labels": (rows,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f"'{name}' has the shape {arrays[name].shape}, its counts ask for {shape}"
    if "keypoints" in arrays and (arrays["keypoints"].ndim != 3 or len(arrays["keypoints"]) != rows):
        return f"'keypoints' has the shape {arrays['keypoints'].shape}"
    return _mask_fault(arrays, rows) if "mask_sizes" in arrays else None


def _mask_fault(arrays: Arrays, rows: int) -> str | None:
    lengths, data = arrays.get("mask_lengths"), arrays.get("mask_bytes")
    if lengths is None or data is None or lengths.shape != (rows,) or arrays["mask_sizes"].shape != (rows, 2):
        return "there are not as many masks as boxes"
    if (lengths < 0).any() or data.ndim != 1 or int(lengths.sum()) != data.size:
        return "the masks' lengths are not those of their bytes"
    return None


def _masks(arrays: Arrays) -> list[dict[str, Any]]:
    data = arrays["mask_bytes"].tobytes()
    ends = np.cumsum(arrays["mask_lengths"])
    starts = ends - arrays["mask_lengths"]
    sizes = arrays["mask_sizes"].tolist()
    return [
        {"size": size, "counts": data[int(start) : int(end)]}
        for size, start, end in zip(sizes, starts, ends, strict=True)
    ]
