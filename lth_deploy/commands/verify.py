"""`lth-deploy verify`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.output import print_json, print_table


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of an export, or exported run directory.")],
    key: Annotated[Path | None, typer.Option(help="Public Ed25519 key in PEM; the export must be signed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, the table on stderr.")] = False,
) -> None:
    """Check that an export's files are those that passed its gates; exit code 3 when one is not."""
    from lth_deploy.workflow.verify.verify import verify as verify_export

    found = verify_export(folder, key=key)
    rows = [[name, f"{entry.bytes:,}", entry.sha256] for name, entry in found.files.items()]
    print_table(["file", "bytes", "SHA-256"], rows, to_stderr=as_json)
    for name in found.unnamed:
        print(f"not checked: {name}, which the record does not name", file=sys.stderr)
    if found.signed_by is not None:
        print(f"signed with the key that belongs to {found.signed_by}", file=sys.stderr)
    elif found.signed:
        print("signed, but the signature was not checked; give the public key with --key PUB.pem", file=sys.stderr)
    if as_json:
        print_json(
            {
                "folder": str(found.folder),
                "files": {name: entry.model_dump() for name, entry in found.files.items()},
                "not_checked": list(found.unnamed),
                "signed": found.signed,
                "signature_checked": found.signed_by is not None,
            }
        )
