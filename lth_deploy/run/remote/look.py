"""Reading files of a remote folder while another process writes there."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.run.remote.location import location_of, refusals

_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")
"""What file systems of fsspec call the time at which a file was written."""


def copy_files(url: str, patterns: Sequence[str], into: Path) -> None:
    """Copy the files below `url` whose names match a pattern, such as `runs/*/manifest.json`, with their times.

    Raises:
        StorageError: the place refuses, or the disk. UsageError: no file of such a place can be seen whole.
    """
    location = location_of(url)
    with refusals(location):
        found = location.files.find(location.root, detail=True)
        for path, facts in found.items():
            name = location.name_of(path)
            if name is None or not any(_matches(name, pattern) for pattern in patterns):
                continue
            data: bytes = location.files.cat_file(path)
            storage.write_bytes(into / name, data)
            written = _time_of(facts)
            if written is not None:
                os.utime(into / name, (written, written))


def _matches(name: str, pattern: str) -> bool:
    """Whether each part of the name matches that of the pattern; `*` stands for no slash."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _time_of(facts: Mapping[str, Any]) -> float | None:
    """When a file was written, in seconds; None where its place does not say it."""
    found = next((facts[name] for name in _TIMES if facts.get(name) is not None), None)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(found) if isinstance(found, int | float) else None
