"""File names out of annotation files: matched to the files of one folder, and never to a file outside of it."""

import os
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from lth_deploy.data.images import SUFFIXES
from lth_deploy.data.json_values import FaultError, short

_LONGEST_PART = 255
"""Bytes between two separators; no common file system stores more."""


@dataclass(frozen=True)
class FoundFile:
    """A file in the folder, and its name there where the annotation file writes it in another case or Unicode form."""

    path: Path
    other_name: str | None = None


class ImageFolder:
    """The files in and below `folder`, by the names that annotation files give them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed = cache(_listed)

    def find(self, name: str) -> FoundFile:
        """The file that `name` means; where there is none, the place where it should be.

        A backslash separates folders, as Windows writes it, unless there is a file with that very name. Where no file
        has the name letter by letter, one that differs only in case or Unicode form is taken if there is just one.

        Raises:
            FaultError: the name is none of a file inside the folder, or leads out of it by a link.
        """
        relative = relative_name(name)
        for candidate in dict.fromkeys((str(PurePosixPath(name)), relative)):
            if _is_file(self.folder / candidate):
                return FoundFile(self._inside(candidate, name))
        spelled = self._spelled(relative)
        return FoundFile(self.folder / relative) if spelled is None else FoundFile(self._inside(spelled, name), spelled)

    def with_stem(self, stem: str) -> list[str]:
        """Names of the images in the folder itself that are called `stem` and an ending, in upper or lower case."""
        names = [name for suffix in SUFFIXES for name in self._listed(self.folder).get(folded(stem + suffix), [])]
        return sorted(name for name in names if Path(name).stem == stem) or sorted(names)

    def _inside(self, relative: str, name: str) -> Path:
        path = self.folder / relative
        steps = [self.folder / part for part in (relative, *map(str, PurePosixPath(relative).parents))][:-1]
        if any(step.is_symlink() for step in steps) and not path.resolve().is_relative_to(self.folder.resolve()):
            raise FaultError(
                f"file_name {short(name)} is or passes a link that leads out of the image folder; "
                "copy the file into the folder, or make it a hard link"
            )
        return path

    def _spelled(self, relative: str) -> str | None:
        """The one existing path that differs from `relative` in case or Unicode form only."""
        found = ""
        for part in PurePosixPath(relative).parts:
            alike = self._listed(self.folder / found).get(folded(part), [])
            exact = [one for one in alike if one == part]
            if len(alike) != 1 and not exact:
                return None
            found = str(PurePosixPath(found, (exact or alike)[0]))
        return found if _is_file(self.folder / found) else None


def relative_name(name: str) -> str:
    """`name` with forward slashes, relative to the image folder.

    Raises:
        FaultError: the name is empty, absolute on any system, climbs out of the folder, or cannot be a file's.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or PureWindowsPath(name).root or ".." in path.parts or "\0" in name:
        raise FaultError(f"file_name {short(name)} must name a file inside the image folder")
    try:
        longest = max(len(os.fsencode(part)) for part in path.parts)
    except UnicodeEncodeError as error:
        raise FaultError(f"file_name {short(name)} holds characters that no file name can have") from error
    if longest > _LONGEST_PART:
        raise FaultError(f"file_name {short(name)} has a part of {longest} bytes; file systems allow {_LONGEST_PART}")
    return str(path)


def folded(name: str) -> str:
    """What names have in common that differ in case or Unicode form only (macOS decomposes accents)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _listed(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    if folder.is_dir():
        for entry in os.scandir(folder):
            names.setdefault(folded(entry.name), []).append(entry.name)
    return names


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long as a whole, or a folder that may not be entered
        return False
