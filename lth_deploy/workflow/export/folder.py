"""Writing an export: all of it or nothing, one process at a time, with digests of every file in its record.

Files are written and gated in a hidden folder inside the export's own folder, and take their places in one step at the
end (`commit.py`). What a killed export leaves in hidden folders is deleted, or finished, by the next one.
"""

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.errors import ArtifactError
from lth_deploy.workflow.export.commit import RECORD, SIGNATURE, commit, finish
from lth_deploy.workflow.verify.export_record import FileEntry, entry_of, fault_of, read_record, record_text

log = logging.getLogger(__name__)

PREFIX = ".export-"
_STAGED = re.compile(r"\.export-[A-Za-z0-9_]{8}")

Signer = Callable[[bytes], bytes]
"""The signature of some bytes."""


@dataclass(frozen=True)
class ExportFolder:
    """A folder that this process holds. staged: where its new files are made, private, on the same file system."""

    out: Path
    staged: Path

    def commit(self, files: Sequence[Path], record: Mapping[str, Any], sign: Signer | None = None) -> None:
        """Move staged files into place with a record of their digests, and its signature where there is a signer.

        Entries of earlier exports into this folder stay in the record while their files are as it says.

        Raises:
            StorageError: the disk refuses.
        """
        entries = {file.name: entry_of(file) for file in files}
        text = record_text(record, {**self._kept(entries), **entries})
        moved = [*files]
        if sign is not None:
            storage.write_bytes(self.staged / SIGNATURE, sign(text.encode()))
            moved.append(self.staged / SIGNATURE)
        storage.write_text(self.staged / RECORD, text)
        moved.append(self.staged / RECORD)
        with storage.disk_errors(f"cannot write into {self.out}"):
            commit(moved, self.staged, self.out)

    def _kept(self, replaced: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
        try:
            record = read_record(self.out)
        except ArtifactError as error:
            log.warning("%s; it is written anew", error)
            return {}
        named = (record.files or {}).items() if record else ()
        return {
            name: entry for name, entry in named if name not in replaced and fault_of(self.out / name, entry) is None
        }


@contextlib.contextmanager
def export_folder(out: Path, needed: int = 0) -> Iterator[ExportFolder]:
    """Hold the folder `out` for one export, and make it where it is not there; nothing stays when nothing is written.

    needed: bytes that must be free.

    Raises:
        StorageError: another process exports into it, too little space, or the disk refuses.
    """
    was_there = out.exists()
    with storage.locked(out):
        try:
            with storage.disk_errors(f"cannot write into {out}"):
                finish(out)
            storage.require_space(out, needed)
            _remove_left_behind(out)
            with storage.private_folder(out, PREFIX) as staged:
                yield ExportFolder(out, staged)
        finally:
            with contextlib.suppress(OSError):
                storage.remove_empty_locked(out, keep=was_there)


def _remove_left_behind(out: Path) -> None:
    """Delete what killed exports left: whoever holds the lock is the only one that exports."""
    storage.remove_stale_temporaries(out, below=False)
    with contextlib.suppress(OSError):
        for entry in out.iterdir():
            if _STAGED.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                log.info("deleting %s, which an interrupted export left", entry)
                shutil.rmtree(entry, ignore_errors=True)
