"""A local folder with runs, copied to a remote one: what a manifest lists first, then the manifest itself.

The manifest of a run lists finished files with their digests, so whoever reads the remote folder sees a run as it was
at one moment. Besides that the checkpoint of the training under way is copied, which holds its own digest, and files
that only people read.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.run.directory import MANIFEST_SCHEMA
from lth_deploy.run.remote.lease import LEASE, Lease
from lth_deploy.run.remote.location import Location, is_remote, is_sound, location_of, refusals

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
PERIOD = 5.0
"""Seconds between two looks at the local folder."""
_LOOSE = ("trials/*/checkpoint.safetensors", "trials/*/metrics.jsonl", "log.txt")
_OF_SWEEP = ("sweep.json", "plot.svg", "plot.png", "report.html", "recipes/*.yaml", "starts/*.json")
_REPLACED = ("summary.json",)
"""Committed files that later commits replace: the remote manifest may be older for a moment."""


@contextmanager
def working_folder(place: str) -> Iterator[Path]:
    """The folder to work in: `place` itself, or a local twin of what is at a URL; see `remote_folder`."""
    if is_remote(place):
        with remote_folder(place) as folder:
            yield folder
    else:
        yield Path(place)


@contextmanager
def remote_folder(url: str) -> Iterator[Path]:
    """A local folder with what is at `url`, copied there while the body runs and once more at its end.

    Raises:
        StorageError: the place refuses, or another process works on it.
        DataError: what is there was damaged.
    """
    location = location_of(url)
    lease, mirror = Lease(location), Mirror(location, location.local)
    with refusals(location):
        location.files.makedirs(location.root, exist_ok=True)
        lease.take()
    try:
        with refusals(location):
            mirror.pull()
        stop = threading.Event()
        copier = threading.Thread(target=_copy, args=(mirror, lease, stop), name="copy the run", daemon=True)
        copier.start()
        try:
            yield location.local
        finally:
            stop.set()
            copier.join()
            with refusals(location, f"; what was computed is in {location.local}"):
                mirror.push()
    finally:
        with refusals(location):
            lease.give_back()


def _copy(mirror: "Mirror", lease: Lease, stop: threading.Event) -> None:
    warned = False
    while not stop.wait(PERIOD):
        try:
            lease.renew()
            mirror.push()
            warned = False
        except Exception as error:  # whatever a file system raises: the work goes on, and the next round tries again
            if not warned:
                logger.warning("cannot copy to %s now: %s; the next rounds try again", mirror.location.url, error)
            warned = True


class Mirror:
    """A local folder and its remote twin."""

    def __init__(self, location: Location, local: Path) -> None:
        self.location, self.local = location, local
        self._known: dict[str, str] = {}
        self._touched: dict[str, tuple[int, int, int]] = {}

    def push(self) -> None:
        """Copy what is new: files of manifests before each manifest, and checkpoints."""
        for manifest in sorted([self.local / MANIFEST, *self.local.glob(f"runs/*/{MANIFEST}")]):
            if manifest.is_file():
                self._push_run(manifest.parent)
        for pattern in _OF_SWEEP:
            for file in self.local.glob(pattern):
                self._put_if_touched(file)

    def pull(self) -> None:
        """Bring what is remote: files that a manifest lists, held to their digests, and checkpoints.

        Raises:
            DataError: a file is missing or has other bytes than its manifest says.
        """
        files = self.location.files
        names = [self._name(path) for path in files.find(self.location.root)]
        self.local.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name and Path(name).name == MANIFEST:
                self._pull_run(str(Path(name).parent), [other for other in names if other])
        if "sweep.json" in names:
            self._get("sweep.json")

    def _push_run(self, run: Path) -> None:
        text = self._bytes(run / MANIFEST)
        listed = _listed(text, run / MANIFEST)
        for name, digest in listed.items():
            file = run / name
            data = self._bytes(file) if self._known.get(self._key(file)) != digest else b""
            if data:
                if hashlib.sha256(data).hexdigest() != digest:
                    return  # it is being replaced: the manifest follows, and the next round copies both
                self._put(file, data)
        for pattern in _LOOSE:
            for file in run.glob(pattern):
                if str(file.relative_to(run)) not in listed:
                    self._put_if_touched(file)
        self._put(run / MANIFEST, text)
        for key in [key for key in self._known if key.endswith("/checkpoint.safetensors")]:
            if not (self.local / key).exists():
                self.location.files.rm_file(self.location.path(key))
                del self._known[key]

    def _pull_run(self, folder: str, names: list[str]) -> None:
        place = "" if folder == "." else f"{folder}/"
        text: bytes = self.location.files.cat_file(self.location.path(f"{place}{MANIFEST}"))
        listed = _listed(text, Path(self.location.url, place, MANIFEST))
        for name, digest in listed.items():
            key = f"{place}{name}"
            target = self.local / key
            if target.is_file() and storage.sha256(target) == digest:
                self._known[key] = digest
                continue
            if key not in names:
                raise DataError(f"{self.location.url}/{key} is missing; restore it or delete its trial")
            data: bytes = self.location.files.cat_file(self.location.path(key))
            if hashlib.sha256(data).hexdigest() != digest:
                if name in _REPLACED:
                    continue
                raise DataError(f"{self.location.url}/{key} has changed since it was committed; restore it")
            self._write(key, data)
        for key in names:
            loose = any(Path(key).match(f"{place}{pattern}") for pattern in _LOOSE)
            if loose and key[len(place) :] not in listed and not (self.local / key).exists():
                self._get(key)
        self._write(f"{place}{MANIFEST}", text)

    def _get(self, key: str) -> None:
        data: bytes = self.location.files.cat_file(self.location.path(key))
        self._write(key, data)

    def _write(self, key: str, data: bytes) -> None:
        storage.write_bytes(self.local / key, data)
        self._known[key] = hashlib.sha256(data).hexdigest()

    def _put_if_touched(self, file: Path) -> None:
        """Copy a file that no manifest lists; unread where it is as it was in the last round."""
        try:
            found = file.stat()
        except FileNotFoundError:
            return
        key, state = self._key(file), (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._known.get(key) is None or self._touched.get(key) != state:
            self._put(file, self._bytes(file))
            self._touched[key] = state

    def _put(self, file: Path, data: bytes) -> None:
        key, digest = self._key(file), hashlib.sha256(data).hexdigest()
        if self._known.get(key) == digest:
            return
        path = self.location.path(key)
        if _is_plain_disk(self.location):
            storage.write_bytes(Path(path), data)
        else:
            self.location.files.pipe_file(path, data)
        self._known[key] = digest

    def _key(self, file: Path) -> str:
        return str(file.relative_to(self.local))

    def _bytes(self, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return b""

    def _name(self, path: str) -> str | None:
        """The name of a remote file below the folder; None for one that no run of ours has, and for the lease."""
        name = self.location.name_of(path)
        return name if name != LEASE else None


def _listed(text: bytes, where: Path) -> dict[str, str]:
    """Digest by name of the files of a manifest.

    Raises:
        DataError: it is no manifest, or names a file outside.
    """
    try:
        manifest: Any = json.loads(text)
        if manifest["schema"] != MANIFEST_SCHEMA:
            raise ValueError(f"its schema is {manifest['schema']!r:.60}")
        files = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} is no manifest of a run: {error!r:.200}; restore it") from error
    for name in files:
        if not is_sound(name):
            raise DataError(f"{where} lists the file {name!r:.100}, which lies in no run; restore it")
    return files


def _is_plain_disk(location: Location) -> bool:
    protocol = location.files.protocol
    return "file" in (protocol if isinstance(protocol, tuple | list) else [protocol])
