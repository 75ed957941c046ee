"""The run directory: everything `find-ticket` leaves on disk, and the seam between research and deployment.

    RUN/recipe.yaml            the resolved recipe
    RUN/manifest.json          SHA-256 of every committed file, and the versions that made them
    RUN/trials/NAME/           one training: mask, weights, metrics (JSON lines), result
    RUN/trials/NAME/checkpoint.safetensors    while that training is under way
    RUN/rewind.safetensors     state at the rewind point of the dense training
    RUN/rewind_permuted.safetensors           the same with channels in the tickets' order, with pruning.permute
    RUN/summary.json           what `report` draws
    RUN/data/                  images and annotations that were generated or converted for this run

A trial counts as finished when its result is in the manifest; files that are not listed there never count.
"""

import json
import math
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import Recipe, recipe_from
from lth_deploy.errors import DataError, UsageError
from lth_deploy.run.trial_result import TrialResult, parse_trial_result

MANIFEST_SCHEMA = "lth-manifest/1"
GENERATED = "data"
_RESULT = re.compile(r"trials/([A-Za-z0-9_.+-]*[A-Za-z0-9])/result\.json")
PACKAGES = ("lth-deploy", "numpy", "torch", "torchvision", "pycocotools", "onnx", "onnxruntime")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Trial:
    """One training inside a run: a name and the paths of its files."""

    def __init__(self, run: "RunDirectory", name: str) -> None:
        self.run = run
        self.name = name
        self.path = run.path / "trials" / name
        self.mask = self.path / "mask.safetensors"
        self.weights = self.path / "weights.safetensors"
        self.metrics = self.path / "metrics.jsonl"
        self.result = self.path / "result.json"
        self.checkpoint = self.path / "checkpoint.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the result has been committed."""
        return self.run.is_committed(self.result)

    def read_result(self) -> TrialResult:
        """The committed result.

        Raises:
            DataError: there is none, the file was changed since, or a value is missing or has another type.
        """
        self.run.verify(self.result)
        return parse_trial_result(storage.read_json(self.result), self.result)

    def commit(self, result: TrialResult) -> None:
        """Make the trial finished: write its result, list its files, and drop the checkpoint."""
        storage.write_json(self.result, result.as_json())
        files = [self.weights, self.metrics, self.result]
        self.run.commit([*files, self.mask] if self.mask.exists() else files)
        self.checkpoint.unlink(missing_ok=True)


class RunDirectory:
    """A directory that `find-ticket` owns; see the module for its layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.manifest_file = path / "manifest.json"
        self.rewind = path / "rewind.safetensors"
        self.permuted_rewind = path / "rewind_permuted.safetensors"
        self.summary = path / "summary.json"
        self.log = path / "log.txt"

    @classmethod
    def create(cls, path: Path, recipe: Recipe) -> "RunDirectory":
        """A new run for `recipe`; who shares the disk with other processes locks the directory first.

        Raises:
            UsageError: the directory already holds something.
            StorageError: the disk refuses.
        """
        require_no_other_files(path, recipe)
        run = cls(path)
        storage.write_text(run.recipe_file, recipe.to_yaml())
        storage.write_json(
            run.manifest_file,
            {
                "schema": MANIFEST_SCHEMA,
                "recipe_digest": recipe.digest(),
                "versions": versions(),
                "files": {"recipe.yaml": _fingerprint(run.recipe_file)},
            },
        )
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run.

        Raises:
            DataError: this is no run directory.
        """
        run = cls(path)
        if not run.manifest_file.is_file():
            raise DataError(f"{path} is no run directory: it has no manifest.json; give the --out of find-ticket")
        run.manifest()
        return run

    def discard(self) -> None:
        """Remove what a new run wrote before its first trial, so that `create` takes the directory again.

        The caller holds the directory.
        """
        with storage.disk_errors(f"cannot clear the run directory {self.path}"):
            shutil.rmtree(self.path / GENERATED, ignore_errors=True)
            for file in (self.log, self.manifest_file, self.recipe_file):
                file.unlink(missing_ok=True)
            storage.remove_empty_locked(self.path)

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is on disk.

        Raises:
            DataError: missing, damaged, or of another version.
        """
        manifest = storage.read_json(self.manifest_file)
        if not isinstance(manifest, dict) or manifest.get("schema") != MANIFEST_SCHEMA:
            found = manifest.get("schema") if isinstance(manifest, dict) else manifest
            raise DataError(f"{self.manifest_file} has the schema {found!r:.60}, {MANIFEST_SCHEMA!r} is needed")
        files, made_with = manifest.get("files"), manifest.get("versions")
        sound = isinstance(files, dict) and all(
            isinstance(entry, dict) and isinstance(entry.get("sha256"), str) for entry in files.values()
        )
        if not sound or not isinstance(made_with, dict) or not isinstance(manifest.get("recipe_digest"), str):
            raise DataError(f"{self.manifest_file} is damaged: it lists no files, versions or recipe; restore it")
        return manifest

    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made with.

        Raises:
            DataError: the file was changed.
        """
        self.verify(self.recipe_file)
        return recipe_from(strict_yaml.load(self.recipe_file))

    def trial(self, name: str) -> Trial:
        """The trial called `name`, finished or not."""
        return Trial(self, name)

    def finished_trials(self) -> list[Trial]:
        """All finished trials, in the order in which they ended."""
        results = [_RESULT.fullmatch(file) for file in self.manifest()["files"]]
        return [self.trial(match[1]) for match in results if match]

    def is_committed(self, file: Path) -> bool:
        """Whether the manifest lists `file` and it exists."""
        return str(file.relative_to(self.path)) in self.manifest()["files"] and file.exists()

    def commit(self, files: list[Path]) -> None:
        """List `files` in the manifest with their digests, in one atomic step."""
        manifest = self.manifest()
        for file in files:
            manifest["files"][str(file.relative_to(self.path))] = _fingerprint(file)
        storage.write_json(self.manifest_file, manifest)

    def verify(self, file: Path, *, copy: Path | None = None) -> None:
        """Check a file, or a copy of it that lies elsewhere, against the manifest.

        Raises:
            DataError: it is not listed, missing, or has other bytes than were committed.
        """
        name = str(file.relative_to(self.path))
        listed = self.manifest()["files"].get(name)
        if listed is None or not file.is_file():
            raise DataError(f"{file} is not a committed file of the run {self.path}")
        if storage.sha256(copy or file) != listed["sha256"]:
            raise DataError(f"{file} has changed since it was committed; restore it or delete its trial")

    def verify_summary(self) -> None:
        """Check the summary against the manifest; one that the manifest does not list is left unchecked.

        Raises:
            DataError: it has other bytes than were committed.
        """
        listed = self.manifest()["files"].get(self.summary.name)
        if listed is not None and self.summary.is_file() and storage.sha256(self.summary) != listed["sha256"]:
            raise DataError(
                f"{self.summary} has changed since it was committed; restore it, or write it again with "
                "find-ticket ... --resume"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            StorageError: another process holds it.
        """
        with storage.locked(self.path):
            yield


def verify_summary(summary: Path) -> None:
    """Check the summary of a run against the manifest beside it, where there is one.

    Raises:
        DataError: it has other bytes than were committed.
    """
    run = RunDirectory(summary.parent)
    if summary.name == run.summary.name and run.manifest_file.is_file():
        run.verify_summary()


def append_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """Add one JSON line; a torn last line, left by a kill, is cut off first.

    Raises:
        StorageError: the disk is full or refuses.
    """
    storage.append_line(path, json.dumps(dict(record), allow_nan=False).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a metrics file; an empty list when there is none.

    Raises:
        DataError: a line holds something else than a record with its step, and losses that are numbers.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            if not isinstance(record["step"], int) or not 0 <= record["step"] <= 2**53:
                raise ValueError("the step is no number of a step")
            if not all(map(_is_figure, (record.get("loss", 0), *(record.get("losses") or {}).values()))):
                raise ValueError("a loss is no number")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no record of a step: {error!r}; restore the file") from error
        records.append(record)
    return records


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and -math.inf < value < math.inf)


def truncate_metrics(path: Path, before_step: int) -> None:
    """Drop records of steps that a resumed training will write again."""
    records = [record for record in read_metrics(path) if record["step"] < before_step]
    storage.write_bytes(path, b"".join(json.dumps(record).encode() + b"\n" for record in records))


def require_no_other_files(path: Path, recipe: Recipe) -> None:
    """Refuse a directory that holds more than a kill before the first manifest leaves of this very run.

    Raises:
        UsageError: the directory holds something else.
        StorageError: it cannot be read.
    """
    with storage.disk_errors(f"cannot use the run directory {path}"):
        free = not path.exists() or _is_barely_begun(path, recipe)
    if not free:
        raise UsageError(f"{path} is not empty, and what it holds is no run; choose another --out")


def _is_barely_begun(path: Path, recipe: Recipe) -> bool:
    own = path / "recipe.yaml"
    if own.exists() and own.read_bytes() != recipe.to_yaml().encode():
        return False
    return all(
        file.name in (own.name, storage.LOCK) or file.name.startswith((".recipe.yaml.tmp-", ".manifest.json.tmp-"))
        for file in path.iterdir()
    )


def _fingerprint(file: Path) -> dict[str, Any]:
    return {"sha256": storage.sha256(file), "bytes": file.stat().st_size}
