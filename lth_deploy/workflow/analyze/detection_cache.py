"""Detections are computed once and stored on disk, under a digest of all that they depend on."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from lth_deploy.errors import DataError
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.evaluation.stored_detections import load_detections, save_detections

log = logging.getLogger(__name__)

Found = dict[int, CompactDetections]


def cached_detections(folder: Path, key: Mapping[str, object], make: Callable[[], Found], what: str) -> Found:
    """The detections that belong to `key` (plain JSON values), from `folder` or else from `make`, which are then kept.

    what: begins the lines of the log.

    Raises:
        StorageError: the disk refuses.
    """
    digest = hashlib.sha256(json.dumps({"layout": 1, **key}, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:32]}.safetensors"
    if path.exists():
        try:
            found = load_detections(path)
            log.info("%s: detections taken from %s", what, path)
            return found
        except DataError as error:
            log.warning("%s; they are made again", error)
    log.info("%s: detecting", what)
    found = make()
    save_detections(path, found)
    return found
