"""One input of the campaign: a command line and the files that it is given, and how both are kept on the disk."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMON_CODES = frozenset({0, 2, 3})


@dataclass(frozen=True)
class Case:
    """arguments: of `lth-deploy`, with paths relative to the folder that it runs in.

    files: name to content; None is an empty folder, a Path a symbolic link to that place. seeds: name to a file of the
    target's seeds that is given unchanged. codes: exit codes that are allowed. may_change: whether the command
    works in its input, as a resumed search does.
    """

    target: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes | Path | None]
    seeds: Mapping[str, str] = field(default_factory=dict)
    codes: frozenset[int] = COMMON_CODES
    may_change: bool = False


def lay_out(case: Case, folder: Path, seeds: Path) -> None:
    """Write the files of a case into an empty folder. Seeds are hard links: nothing is copied."""
    for name, seed in case.seeds.items():
        if name not in case.files:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(seeds / seed, place)
    for name, content in case.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir(exist_ok=True)
        elif isinstance(content, Path):
            place.symlink_to(content)
        else:
            place.write_bytes(content)


def save_case(case: Case, folder: Path, notes: Mapping[str, Any]) -> None:
    """Keep a case so that `load_case` gives it back; `notes` are for people."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    changed = {}
    for number, (name, content) in enumerate(case.files.items()):
        if isinstance(content, bytes):
            # Numbered: a name may be one that no archive keeps.
            stored = f"{number}{Path(name).suffix if Path(name).suffix.isascii() else ''}"
            (folder / "files" / stored).write_bytes(content)
            changed[name] = {"content": stored}
        else:
            changed[name] = {"folder": True} if content is None else {"link": str(content)}
    document = {
        "target": case.target,
        "arguments": list(case.arguments),
        "codes": sorted(case.codes),
        "may_change": case.may_change,
        "files": changed,
        "seeds": dict(case.seeds),
        **notes,
    }
    (folder / "case.json").write_text(json.dumps(document, indent=1) + "\n")


def load_case(folder: Path) -> Case:
    """A case that `save_case` kept."""
    document = json.loads((folder / "case.json").read_text())
    files: dict[str, bytes | Path | None] = {}
    for name, entry in document["files"].items():
        if "content" in entry:
            files[name] = (folder / "files" / entry["content"]).read_bytes()
        else:
            files[name] = Path(entry["link"]) if "link" in entry else None
    codes = frozenset(document["codes"])
    arguments = tuple(document["arguments"])
    return Case(document["target"], arguments, files, document["seeds"], codes, document["may_change"])
