"""The verb `verify`: whether the files of an export are those that passed its gates, and who vouches for them."""

from dataclasses import dataclass
from pathlib import Path

from lth_deploy import storage
from lth_deploy.errors import ArtifactError, UsageError
from lth_deploy.workflow.export.commit import RECORD, SIGNATURE, finish_interrupted
from lth_deploy.workflow.verify.export_record import ExportRecord, FileEntry, fault_of, parse_record, record_bytes

_SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class VerifiedExport:
    """An export whose files are as its record says.

    files: by name. unnamed: ONNX files of the folder that the record says nothing about. signed: whether there is a
    signature; signed_by: the public key that it was checked with.
    """

    folder: Path
    files: dict[str, FileEntry]
    unnamed: tuple[str, ...]
    signed: bool
    signed_by: Path | None


def verify(path: Path, *, key: Path | None = None) -> VerifiedExport:
    """Check the export folder `path`, or that of the run directory `path`, against its record.

    key: PEM file with a public Ed25519 key; the record must be signed with its private one.

    Raises:
        ArtifactError: there is no record, or a file, a control or the signature does not fit; names all faults.
        UsageError: there is no such folder, or the key is no public key.
        MissingExtraError: a key is given, and the package `cryptography` is not installed.
    """
    folder = _folder(path)
    finish_interrupted(folder)
    data = record_bytes(folder)
    if data is None:
        raise ArtifactError(f"{folder} has no {RECORD}: nothing says which files passed the gates; export again")
    signature = _signature(folder)
    if key is not None:
        from lth_deploy.workflow.verify.signing import check_signature

        if signature is None:
            raise ArtifactError(f"{folder} is not signed: it has no {SIGNATURE}; export with --sign KEY.pem")
        check_signature(data, signature, key, folder / RECORD)
    # What is parsed are the bytes whose signature was checked.
    files = _files(parse_record(data, folder / RECORD), folder)
    faults = [f"{name}: {fault}" for name, entry in files.items() if (fault := fault_of(folder / name, entry))]
    faults = faults or _wrong_controls(folder, files)
    if faults:
        raise ArtifactError(
            f"{folder} is not as its gates saw it; it was changed, or an export was interrupted: export again\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    unnamed = tuple(sorted(file.name for file in folder.glob("*.onnx") if file.name not in files))
    return VerifiedExport(folder, files, unnamed, signature is not None, key)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"{path} is no folder; give the folder of an export, or an exported run")
    inner = path / "export"
    return inner if not (path / RECORD).exists() and inner.is_dir() else path


def _signature(folder: Path) -> bytes | None:
    file = folder / SIGNATURE
    try:
        with file.open("rb") as handle:
            return handle.read(_SIGNATURE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"cannot read {file}: {error.strerror}; export again") from error


def _files(record: ExportRecord, folder: Path) -> dict[str, FileEntry]:
    if not record.files:
        raise ArtifactError(f"{folder / RECORD} has no digests, since an earlier version wrote it; export again")
    return record.files


def _wrong_controls(folder: Path, files: dict[str, FileEntry]) -> list[str]:
    """Artifacts that were exported with another dense control than the one beside them."""
    from lth_deploy.compiler.artifact.load import load_model
    from lth_deploy.compiler.artifact.metadata import read_metadata

    dense = folder / "dense.onnx"
    if not dense.is_file():
        return []
    digest, wrong = storage.sha256(dense), []
    for name in files:
        if not name.endswith(".onnx") or name == dense.name:
            continue
        metadata = read_metadata(load_model(folder / name))
        named = metadata.control_sha256 if metadata is not None else None
        if named is not None and named != digest:
            wrong.append(f"{name}: it was exported with another dense control, whose SHA-256 is {named:.80}")
    return wrong
