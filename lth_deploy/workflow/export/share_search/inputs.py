"""Digests of all that the AP of a try depends on: what differs makes older tries worthless."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from onnx import ModelProto
from pydantic import TypeAdapter

from lth_deploy import storage
from lth_deploy.compiler.model.save import to_bytes
from lth_deploy.config.target import Target
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.images import image_files
from lth_deploy.decoders import is_file
from lth_deploy.run.directory import versions
from lth_deploy.workflow.export.onnx_job import OnnxJob

_PATHS = frozenset({"sparsity", "max_ap_drop", "images", "data", "calibrate", "decoder"})
"""Of a job: the bound, which changes no AP, and what has a digest of its own."""

_OF_AP = ("values", "keep_float", "keep_worst", "transformer_decoder", "float_macs", "calibration")
"""Of a target: what changes AP."""


def digests(original: ModelProto, job: OnnxJob, target: Target) -> dict[str, str]:
    """The digest of each input by its name in messages.

    Raises:
        DataError: annotations or images cannot be read.
    """
    assert job.data is not None
    assert job.images is not None
    records = load_coco(job.data, job.images).images
    found = {
        "model": hashlib.sha256(to_bytes(original)).hexdigest(),
        "annotations": storage.sha256(job.data),
        "images": _of_files(record.path for record in records),
        "decoder": _of_decoder(job.decoder),
        "options": _of_values(_options(job, target)),
        "lth_deploy or its packages": _of_values(versions()),
    }
    if job.calibrate is not None:
        found["calibration images"] = _of_files(image_files(job.calibrate))
    return found


def _options(job: OnnxJob, target: Target) -> dict[str, object]:
    given = TypeAdapter(OnnxJob).dump_python(job, mode="json")
    wanted = target.model_dump(mode="json")
    return {
        "job": {name: value for name, value in given.items() if name not in _PATHS} | {"method": job.method},
        "target": {name: wanted[name] for name in _OF_AP},
    }


def _of_decoder(named: str | None) -> str:
    """A decoder of the user's own counts with the code of its file."""
    if named is None or not is_file(named):
        return named or ""
    return f"{named.rpartition(':')[2]} {storage.sha256(Path(named.rpartition(':')[0]))}"


def _of_files(files: Iterable[Path]) -> str:
    return _of_values([(file.name, storage.sha256(file)) for file in files])


def _of_values(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
