"""A local run, copied to a remote folder: what its manifest lists first, then the manifest itself.

The manifest of a run lists finished files with their digests, so whoever reads the remote folder sees a run as it was
at one moment. Besides that the checkpoint of the training under way is copied, which holds its own digest, and files
that only people read.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.run.directory import MANIFEST_SCHEMA
from lth_deploy.run.remote.leased import leased
from lth_deploy.run.remote.location import is_remote, is_sound, location_of
from lth_deploy.run.remote.twin import Twin

MANIFEST = "manifest.json"
_LOOSE = ("trials/*/checkpoint.safetensors", "trials/*/metrics.jsonl", "log.txt")
_REPLACED = ("summary.json",)
"""Committed files that later commits replace: the remote manifest may be older for a moment."""


@contextmanager
def working_folder(place: str) -> Iterator[Path]:
    """The folder to work in: `place` itself, or a local twin of the run at a URL; see `remote_folder`."""
    if is_remote(place):
        with remote_folder(place) as folder:
            yield folder
    else:
        yield Path(place)


@contextmanager
def remote_folder(url: str) -> Iterator[Path]:
    """A local folder with the run at `url`, copied there while the body runs and once more at its end.

    Raises:
        StorageError: the place refuses, or another process works on it.
        DataError: what is there was damaged.
    """
    location = location_of(url)
    with leased(Mirror(location, location.local)):
        yield location.local


class Mirror(Twin):
    """A local run and its remote twin."""

    def push(self) -> None:
        """Copy what is new: files of the manifest before it, and checkpoints."""
        manifest = self.local / MANIFEST
        if not manifest.is_file():
            return
        text = self._bytes(manifest)
        listed = _listed(text, manifest)
        for name, digest in listed.items():
            file = self.local / name
            if self._known.get(name) == digest or not file.exists():
                continue
            data = self._bytes(file)
            if hashlib.sha256(data).hexdigest() != digest:
                return  # it is being replaced: the manifest follows, and the next round copies both
            self._put(file, data)
        for pattern in _LOOSE:
            for file in self.local.glob(pattern):
                if self._key(file) not in listed:
                    self._put_if_touched(file)
        self._put(manifest, text)
        for key in [key for key in self._known if key.endswith("/checkpoint.safetensors")]:
            if not (self.local / key).exists():
                self.location.files.rm_file(self.location.path(key))
                del self._known[key]

    def pull(self) -> None:
        """Bring what is remote: files that the manifest lists, held to their digests, and checkpoints.

        Raises:
            DataError: a file is missing or has other bytes than its manifest says.
        """
        found = self.location.files.find(self.location.root)
        names = [name for name in map(self._name, found) if name]
        self.local.mkdir(parents=True, exist_ok=True)
        if MANIFEST not in names:
            return
        text: bytes = self.location.files.cat_file(self.location.path(MANIFEST))
        listed = _listed(text, Path(self.location.url, MANIFEST))
        for name, digest in listed.items():
            self._pull_listed(name, digest, names)
        for name in names:
            loose = any(Path(name).match(pattern) for pattern in _LOOSE)
            if loose and name not in listed and not (self.local / name).exists():
                self._get(name)
        self._write(MANIFEST, text)

    def _pull_listed(self, name: str, digest: str, names: list[str]) -> None:
        target = self.local / name
        if target.is_file() and storage.sha256(target) == digest:
            self._known[name] = digest
            return
        if name not in names:
            raise DataError(f"{self.location.url}/{name} is missing; restore it or delete its trial")
        data: bytes = self.location.files.cat_file(self.location.path(name))
        if hashlib.sha256(data).hexdigest() == digest:
            self._write(name, data)
        elif name not in _REPLACED:
            raise DataError(f"{self.location.url}/{name} has changed since it was committed; restore it")


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
