"""A sweep's own files, copied to a remote folder; each run is copied by the process that works on it."""

import shutil
from collections.abc import Iterable
from threading import Lock

from lth_deploy import storage
from lth_deploy.run.remote.look import copy_files
from lth_deploy.run.remote.place_files import inside, read_file
from lth_deploy.run.remote.twin import Twin

RECORD, RUNS, STARTS = "sweep.json", "runs", "starts"
INITIAL = "initial"
"""Folder with the weights that rows of a smoke begin with."""

_LEFT = ("slurm", INITIAL)
"""What is local only, and serves a later call: jobs that may still run, and first weights."""
_OWN_FILES = (
    f"{INITIAL}/**/*",
    "recipes/*.yaml",
    RECORD,
    "plot.svg",
    "plot.png",
    "report.html",
)
_OF_RUNS = (
    "manifest.json",
    "recipe.yaml",
    "summary.json",
    "trials/dense/result.json",
    "trials/dense/early_masks.jsonl",
)
"""What a sweep reads of a run."""


class SweepMirror(Twin):
    """A local folder of a sweep and its remote twin."""

    _pushing = Lock()

    def push(self) -> None:
        """Copy what is new of the sweep's own files."""
        with self._pushing:
            for pattern in _OWN_FILES:
                for file in sorted(self.local.glob(pattern)):
                    if file.is_file() and not any(part.startswith(".") for part in file.relative_to(self.local).parts):
                        self._put_if_touched(file)

    def pull(self) -> None:
        """Begin with the remote record, and with what the remote runs say of themselves."""
        known = read_file(inside(self.location.url, RECORD)) is not None
        with storage.disk_errors(f"cannot clear {self.local}"):
            self.local.mkdir(parents=True, exist_ok=True)
            for file in self.local.iterdir():
                if file.name != storage.LOCK and not (known and file.name in _LEFT):
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
        copy_files(self.location.url, (RECORD, *(f"{RUNS}/*/{name}" for name in _OF_RUNS)), self.local)
        self.bring_starts()

    def bring_runs(self, names: Iterable[str]) -> None:
        """Bring what these runs say of themselves.

        Raises:
            StorageError: the place refuses.
        """
        for name in names:
            copy_files(inside(self.location.url, RUNS, name), _OF_RUNS, self.local / RUNS / name)

    def bring_starts(self) -> None:
        """Bring the start files as they are now.

        Raises:
            StorageError: the place refuses.
        """
        with storage.disk_errors(f"cannot clear {self.local / STARTS}"):
            if (self.local / STARTS).exists():
                shutil.rmtree(self.local / STARTS)
        copy_files(inside(self.location.url, STARTS), ("*.json",), self.local / STARTS)
