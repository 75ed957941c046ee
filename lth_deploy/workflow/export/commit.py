"""The last step of an export: its files take the place of the older ones, and a kill in between is made good.

The new files wait, synced, in one hidden folder. Renaming that folder to `COMMITTED` is the moment at which the export
counts. Then the files are renamed into place. Whoever of this program opens the folder after a kill finishes that, so
no reader sees a part of the old export beside a part of the new one.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from lth_deploy import storage
from lth_deploy.errors import StorageError

log = logging.getLogger(__name__)

RECORD = "export.json"
SIGNATURE = "export.json.sig"
COMMITTED = ".export-committed"


def commit(files: Sequence[Path], staged: Path, out: Path) -> None:
    """Move `files`, the record among them, from the folder `staged` into `out` on the same file system, in one step.

    Raises:
        OSError: the disk refuses. Before the step, `out` is as it was; after it, `finish_interrupted` ends the work.
    """
    ready = staged / COMMITTED
    ready.mkdir()
    for file in files:
        storage.sync_file(file)
        file.rename(ready / file.name)
    storage.sync_directory(ready)
    ready.rename(out / COMMITTED)
    storage.sync_directory(out)
    finish(out)


def finish(out: Path) -> None:
    """Rename the files of a committed export into place, if there is one; the caller holds the lock of `out`.

    Raises:
        OSError: the disk refuses.
    """
    ready = out / COMMITTED
    if not ready.is_dir() or ready.is_symlink():
        return
    if (ready / RECORD).exists():
        # The signature is of the older record. A new one follows behind the new record.
        (out / SIGNATURE).unlink(missing_ok=True)
    last = (RECORD, SIGNATURE)
    for file in sorted(ready.iterdir(), key=lambda file: last.index(file.name) if file.name in last else -1):
        file.replace(out / file.name)
    ready.rmdir()
    storage.sync_directory(out)


def finish_interrupted(out: Path) -> None:
    """Finish an export that was killed after its files counted; warn where the disk or another process forbids it."""
    if not (out / COMMITTED).is_dir():
        return
    try:
        with storage.locked(out), storage.disk_errors(f"cannot write into {out}"):
            finish(out)
    except StorageError as error:
        log.warning("an export into %s was interrupted, and its last step could not be done: %s", out, error)
