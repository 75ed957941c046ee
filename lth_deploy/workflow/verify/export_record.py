"""The record of an export, `export.json`: SHA-256 of each file that passed the gates, checked by all who read them."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from lth_deploy import storage
from lth_deploy.errors import ArtifactError, DataError
from lth_deploy.measure.reports import checked_json
from lth_deploy.workflow.export.commit import RECORD, finish_interrupted

log = logging.getLogger(__name__)

SCHEMA = "lth-export/1"
LARGEST = 64 << 20
"""Bytes of a record; layers take some hundred bytes each."""


class FileEntry(BaseModel):
    """One file of an export."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class ExportRecord(BaseModel):
    """What is read of a record. files: by name, None in records of earlier versions, which have no digests."""

    files: dict[str, FileEntry] | None = None


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file of an export, or with its record."""

    name: str
    text: str


def entry_of(file: Path) -> FileEntry:
    """Digest and size of a file as they are now."""
    return FileEntry(sha256=storage.sha256(file), bytes=file.stat().st_size)


def record_text(content: Mapping[str, Any], files: Mapping[str, FileEntry]) -> str:
    """The text of a record with the digests of `files`."""
    entries = {name: entry.model_dump() for name, entry in sorted(files.items())}
    return json.dumps({"schema": SCHEMA, **content, "files": entries}, indent=1, allow_nan=False) + "\n"


def read_record(folder: Path) -> ExportRecord | None:
    """The record in a folder; None where there is none.

    Raises:
        ArtifactError: it is damaged, or names what is no file of the folder.
    """
    data = record_bytes(folder)
    return None if data is None else parse_record(data, folder / RECORD)


def record_bytes(folder: Path) -> bytes | None:
    """The bytes of the record in a folder, which a signature is made of; None where there is none.

    Raises:
        ArtifactError: it cannot be read, or is larger than any record.
    """
    file = folder / RECORD
    try:
        if not file.exists():
            return None
        if file.stat().st_size > LARGEST:
            raise ArtifactError(f"{file} has {file.stat().st_size} bytes, a record has {LARGEST} at most; export again")
        return file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {file}: {error}; export again") from error


def parse_record(data: bytes, source: Path) -> ExportRecord:
    """The record in `data`; see `read_record` for what is raised."""
    try:
        record = checked_json(ExportRecord, data, str(source), "lth-deploy export")
    except DataError as error:
        raise ArtifactError(str(error)) from error
    for name in record.files or ():
        if not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
            raise ArtifactError(f"{source} names {name!r:.80}, which is no file of its folder; export again")
    return record


def fault_of(file: Path, entry: FileEntry) -> str | None:
    """Why `file` is not the one of this entry; None where it is."""
    if file.is_symlink():
        return "it is a symbolic link"
    if not file.is_file():
        return "it is missing"
    try:
        found = entry_of(file)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if found == entry:
        return None
    return (
        f"it has {found.bytes} bytes and the SHA-256 {found.sha256}, the record says {entry.bytes} bytes and "
        f"{entry.sha256}"
    )


def check_exported(file: Path, *, verify: bool = False) -> None:
    """Warn where `file` is not the one that passed the gates of the export beside it.

    Nothing is said where there is no record, or one that does not name the file. verify: refuse in all of these cases.

    Raises:
        ArtifactError: with `verify`, the file is not the one that the record names.
    """
    finish_interrupted(file.parent)
    try:
        record = read_record(file.parent)
    except ArtifactError as error:
        if verify:
            raise
        log.warning("%s was not checked: %s", file, error)
        return
    entry = (record.files or {}).get(file.name) if record else None
    if entry is None:
        if verify:
            reason = _unnamed(file, record)
            raise ArtifactError(f"{file} cannot be verified: {reason}; export it, or leave out --verify")
        return
    fault = fault_of(Path(os.path.realpath(file)), entry)
    if fault is not None:
        _say(
            f"{file} is not the file that passed the gates of its export: {fault}; it was changed, or an export was "
            "interrupted: export again",
            verify,
        )


def check_control(artifact: Path, control_sha256: str | None, dense: Path, *, verify: bool = False) -> None:
    """Warn where `dense` is not the control that an artifact names in its metadata; `verify` refuses it.

    Raises:
        ArtifactError: with `verify`, it is another file.
    """
    if control_sha256 is not None and storage.sha256(dense) != control_sha256:
        _say(
            f"{dense} is not the dense control that {artifact} was exported with: its SHA-256 is not "
            f"{control_sha256:.80}; export again, or name another file with --baseline",
            verify,
        )


def _unnamed(file: Path, record: ExportRecord | None) -> str:
    if record is None:
        return f"there is no {RECORD} beside it"
    if record.files is None:
        return f"{file.parent / RECORD} has no digests, since an earlier version wrote it"
    return f"{file.parent / RECORD} does not name it"


def _say(text: str, verify: bool) -> None:
    if verify:
        raise ArtifactError(text)
    log.warning("%s", text)
