"""One Pascal VOC annotation file, read without trusting it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lth_deploy.data.json_values import LARGEST_COORDINATE, plain_number, short
from lth_deploy.errors import DataError

LARGEST_FILE = 16 * 1024**2
"""Bytes; a real annotation has some thousand."""

CORNERS = ("xmin", "ymin", "xmax", "ymax")

_DEEPEST = 32

# What the XML parser does not know, and annotation tools of the countries concerned write.
_MULTIBYTE = ("big5", "cp932", "cp936", "cp949", "euc-jp", "euc-kr", "gb18030", "gb2312", "gbk", "shift_jis")
_ENCODING = re.compile(rb"^<\?xml[^>]{0,100}encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")


@dataclass(frozen=True)
class VocObject:
    """One object; corners as the file has them."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocAnnotation:
    """What one file says. file_name is '' and the size None where it says nothing."""

    path: Path
    file_name: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def read_voc_xml(path: Path) -> VocAnnotation:
    """Parse one annotation file.

    Raises:
        DataError: unreadable, not well-formed, with a document type (the way to entity bombs and foreign
            files), or an object without name or corners; the message names the object.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise DataError(f"{path}: the outermost element is <{root.tag}>, a VOC file has <annotation>")
    objects = tuple(_object(path, node, n) for n, node in enumerate(root.iter("object"), start=1))
    return VocAnnotation(path, (root.findtext("filename") or "").strip(), _size(root), objects)


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

    try:
        data, encoding = _in_utf8(data)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in {error.encoding}, which it declares: byte {error.start}") from error
    parser = expat.ParserCreate(encoding)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not well-formed XML: {error}") from error


def _in_utf8(data: bytes) -> tuple[bytes, str | None]:
    """The bytes, and the encoding that they are to be read in whatever they declare; None leaves it to the parser."""
    declared = _ENCODING.match(data)
    name = declared[1].decode().lower() if declared else ""
    return (data.decode(name).encode(), "utf-8") if name in _MULTIBYTE else (data, None)


def _size(root: Element) -> tuple[int, int] | None:
    width, height = (plain_number(root.findtext(f"size/{key}") or "") or 0.0 for key in ("width", "height"))
    # Some writers leave 0 in both; the image itself knows better.
    if not (width >= 1 and height >= 1 and width.is_integer() and height.is_integer()):
        return None
    return int(width), int(height)


def _object(path: Path, node: Element, number: int) -> VocObject:
    where = f"{path}: object {number}"
    name = (node.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where} has no <name>")
    corners = tuple(_numbers(where, node))
    return VocObject(
        name,
        (corners[0], corners[1], corners[2], corners[3]),
        (node.findtext("difficult") or "0").strip().lower() in ("1", "true"),
    )


def _numbers(where: str, node: Element) -> Iterator[float]:
    for key in CORNERS:
        text = node.findtext(f"bndbox/{key}") or ""
        value = plain_number(text)
        if value is None or abs(value) > LARGEST_COORDINATE:
            raise DataError(f"{where} has no usable <{key}> in <bndbox>: {short(text.strip() or None)}")
        yield value
