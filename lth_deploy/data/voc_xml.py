"""One Pascal VOC annotation file, read without trusting it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lth_deploy.data.values import LARGEST_COORDINATE
from lth_deploy.errors import DataError

LARGEST_FILE = 16 * 1024**2
"""Bytes; a real annotation has some thousand."""

_DEEPEST = 32


@dataclass(frozen=True)
class VocObject:
    """One object; corners as the file has them."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocPicture:
    """What one file says. file_name is '' and the size None where it says nothing."""

    path: Path
    file_name: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def read_voc_xml(path: Path) -> VocPicture:
    """Parse one annotation file.

    Raises:
        DataError: unreadable, not well-formed, with a document type (the way to entity bombs and foreign
            files), or an object without name or corners; the message names the object.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise DataError(f"{path}: the outermost element is <{root.tag}>, a VOC file has <annotation>")
    objects = tuple(_object(path, node, n) for n, node in enumerate(root.iter("object"), start=1))
    return VocPicture(path, (root.findtext("filename") or "").strip(), _size(root), objects)


def _parse(path: Path) -> Element:
    try:
        with path.open("rb") as handle:
            data = handle.read(LARGEST_FILE + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > LARGEST_FILE:
        raise DataError(f"{path} has more than {LARGEST_FILE} bytes; a VOC annotation has some thousand")
    builder = TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise DataError(f"{path}: elements are nested more than {_DEEPEST} deep; this is no VOC file")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise DataError(f"{path}: a document type (<!DOCTYPE>) is refused; remove it")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not well-formed XML: {error}") from error


def _size(root: Element) -> tuple[int, int] | None:
    try:
        width, height = (int(root.findtext(f"size/{key}") or 0) for key in ("width", "height"))
    except ValueError:
        return None
    # Some writers leave 0 in both; the image itself knows better.
    return (width, height) if width > 0 and height > 0 else None


def _object(path: Path, node: Element, number: int) -> VocObject:
    where = f"{path}: object {number}"
    name = (node.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where} has no <name>")
    corners = tuple(_numbers(where, node))
    return VocObject(
        name,
        (corners[0], corners[1], corners[2], corners[3]),
        (node.findtext("difficult") or "0").strip() == "1",
    )


def _numbers(where: str, node: Element) -> Iterator[float]:
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = node.findtext(f"bndbox/{key}")
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not abs(value) <= LARGEST_COORDINATE:
            raise DataError(f"{where} has no usable <{key}> in <bndbox>: {(text or 'nothing')[:40]!r}")
        yield value
