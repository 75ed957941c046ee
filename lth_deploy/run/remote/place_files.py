"""Small files at a place, which is a path or a URL: read, written in one step, and deleted."""

from pathlib import Path

from lth_deploy import storage
from lth_deploy.run.remote.location import Location, is_remote, location_of, refusals


def inside(place: str | Path, *parts: str) -> str:
    """The place of a file or folder in the folder `place`."""
    return "/".join((str(place).rstrip("/"), *parts)) if is_remote(str(place)) else str(Path(place, *parts))


def resolved(place: str) -> str:
    """The same place for a process that works in another folder."""
    return place if is_remote(place) else str(Path(place).resolve())


def read_file(place: str) -> bytes | None:
    """What a file holds; None where there is none.

    Raises:
        StorageError: the place refuses.
    """
    try:
        if not is_remote(place):
            with storage.disk_errors(f"cannot read {place}"):
                return Path(place).read_bytes() if Path(place).is_file() else None
        location, name = _folder_of(place)
        with refusals(location):
            if not location.files.exists(location.path(name)):
                return None
            data: bytes = location.files.cat_file(location.path(name))
            return data
    except FileNotFoundError:  # deleted since the look
        return None


def write_file(place: str, data: bytes) -> None:
    """Replace a file in one step.

    Raises:
        StorageError: the place refuses.
    """
    if not is_remote(place):
        storage.write_bytes(Path(place), data)
        return
    location, name = _folder_of(place)
    with refusals(location):
        location.files.makedirs(location.root, exist_ok=True)
        location.write(name, data)


def delete_file(place: str) -> None:
    """Delete a file, if it is there.

    Raises:
        StorageError: the place refuses.
    """
    if not is_remote(place):
        with storage.disk_errors(f"cannot delete {place}"):
            Path(place).unlink(missing_ok=True)
        return
    location, name = _folder_of(place)
    with refusals(location):
        if location.files.exists(location.path(name)):
            location.files.rm_file(location.path(name))


def _folder_of(place: str) -> tuple[Location, str]:
    folder, _, name = place.rstrip("/").rpartition("/")
    return location_of(folder), name
