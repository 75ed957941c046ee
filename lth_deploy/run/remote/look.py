"""Reading files of a remote folder while another process writes there."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import DataError, LthError
from lth_deploy.run.remote.location import is_remote, location_of, refusals
from lth_deploy.run.remote.place_files import read_file

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


@contextmanager
def run_at(place: str, patterns: Sequence[str] = ()) -> Iterator[Path]:
    """The folder of the run at a place; of one at a URL, a copy of its recipe and of the files that match a pattern.

    Raises:
        DataError: there is no run at the URL.
        StorageError: the place refuses.
    """
    if not is_remote(place):
        yield Path(place)
        return
    with storage.scratch("run") as folder, _named(place, folder):
        copy_files(place, ("manifest.json", "recipe.yaml", *patterns), folder)
        if not (folder / "manifest.json").is_file():
            raise DataError(f"{place} is no run directory: it has no manifest.json; give the --out of find-ticket")
        yield folder


@contextmanager
def file_at(place: str) -> Iterator[Path]:
    """The file at a place; of one at a URL, a copy.

    Raises:
        DataError: there is none at the URL.
        StorageError: the place refuses.
    """
    if not is_remote(place):
        yield Path(place)
        return
    folder_of_place, _, name = place.rpartition("/")
    with storage.scratch("file") as folder, _named(folder_of_place, folder):
        data = read_file(place)
        if data is None:
            raise DataError(f"{place}: there is no such file")
        storage.write_bytes(folder / name, data)
        yield folder / name


@contextmanager
def _named(place: str, folder: Path) -> Iterator[None]:
    """Errors name the place where they would name its copy."""
    try:
        yield
    except LthError as error:
        error.args = tuple(str(part).replace(str(folder), place) for part in error.args)
        raise


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
