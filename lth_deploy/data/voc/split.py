"""Lists of images in a VOC folder: one name a line, in the lists of single classes with a label behind it."""

from collections.abc import Callable
from pathlib import Path

from lth_deploy.data.images import SUFFIXES
from lth_deploy.data.json_values import printable, short
from lth_deploy.data.text_files import read_text
from lth_deploy.errors import DataError

ALL = "all"
"""The split that stands for every annotation file."""

# 1: the class is in the image, 0: only as a difficult object, -1: it is not.
_LABELS = ("1", "0", "-1")
_ENDINGS = (".xml", *SUFFIXES)


def read_split(path: Path, stem_of: Callable[[str], str | None]) -> list[str]:
    """Stems of the images that a list names, without those that have the label -1.

    Names may have spaces, so whether the last word of a line is a label is decided by what exists: `stem_of` gives the
    stem that a name means, None where there is no such annotation file.

    Raises:
        DataError: no such list, a line that names nothing, or a list that can be read in both ways.
    """
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.txt"))
        raise DataError(f"{path}: no such split; there are: {', '.join(there) or 'none'}, and '{ALL}' for every file")
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: the split lists no image")
    names = [_stem(line, stem_of) for line in lines]
    labeled = [_labeled(line, stem_of) for line in lines]
    if all(names) and all(labeled):
        raise DataError(
            f"{path}: {short(lines[0])} is the name of an image, but also that of another with a label behind it, "
            "as every line is; rename the images, or write their names with an ending such as .jpg"
        )
    chosen: list[str] = []
    for line, name, label in zip(lines, names, labeled, strict=True):
        if label and (not name or all(labeled)):
            chosen += [label[0]] if label[1] != "-1" else []
        elif name:
            chosen.append(name)
        else:
            raise DataError(f"{path} lists {short(line)}, but there is no annotation file '{printable(line, 100)}.xml'")
    if not chosen:
        raise DataError(f"{path}: the split lists no image")
    return list(dict.fromkeys(chosen))


def _stem(name: str, stem_of: Callable[[str], str | None]) -> str | None:
    found = stem_of(name)
    if found is None and name.lower().endswith(_ENDINGS):
        found = stem_of(name[: name.rindex(".")])
    return found


def _labeled(line: str, stem_of: Callable[[str], str | None]) -> tuple[str, str] | None:
    """Stem and label of a line that has both."""
    name, _, label = line.rpartition(" ") if "\t" not in line else line.rpartition("\t")
    stem = _stem(name.strip(), stem_of) if label in _LABELS else None
    return None if stem is None else (stem, label)
