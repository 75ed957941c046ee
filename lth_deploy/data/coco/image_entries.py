"""The entries of a COCO file's `images`: checked, and matched to files."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lth_deploy.data.exif import AS_STORED, swaps_sides
from lth_deploy.data.file_names import ImageFolder
from lth_deploy.data.findings import CheckReport
from lth_deploy.data.images import LARGEST_SIDE, Header, check_size, decode, read_header
from lth_deploy.data.json_values import FaultError, as_id, short
from lth_deploy.data.records import ImageRecord

# On a network or a turning disk each file is waited for; whole images are decoded one by one to save memory.
_HEADERS_AT_ONCE = 8
_SUBMITTED = 1024

Entry = tuple[int, str, dict[str, Any]]
"""Id, place in words ('image 7') and content of an entry of a list."""


def read_images(entries: Iterable[Entry], images: Path, file: str, report: CheckReport) -> Iterator[ImageRecord]:
    """A record for each sound entry; what is wrong with the others goes to `report`."""
    folder = ImageFolder(images)
    owners: dict[Path, int] = {}
    for number, where, raw in entries:
        try:
            name = raw.get("file_name")
            if not isinstance(name, str):
                raise FaultError(f"file_name must be text, found {short(name)}")
            found = folder.find(name)
            width, height = (_side(raw.get(key), key) for key in ("width", "height"))
        except FaultError as fault:
            report.error(file, where, str(fault))
            continue
        if any(isinstance(raw[key], str) for key in ("width", "height")):
            report.group("notice", "sizes as text", file, where, "width and height are text; read as numbers")
        if found.other_name is not None:
            message = (
                f"file_name {short(name)} is '{found.other_name}' in the folder, which differs in case or Unicode form"
            )
            if found.path in owners:
                report.error(
                    file, where, f"{message}, and image {owners[found.path]} is that file; one of both files is missing"
                )
                continue
            report.group("notice", "spelled otherwise", file, where, message)
        elif found.path in owners:
            report.notice(file, where, f"the same file as image {owners[found.path]}: {name}")
        owners.setdefault(found.path, number)
        yield ImageRecord(number, found.path, name, width, height)


def check_files(records: list[ImageRecord], folder: Path, decode_images: bool, report: CheckReport) -> None:
    """Read the header of every image file, or decode it whole; compare sizes, and say which images are turned."""
    if records and not folder.is_dir():
        report.error(folder, "folder", "there is no such folder of images")
        return
    with ThreadPoolExecutor(1 if decode_images else _HEADERS_AT_ONCE) as pool:
        for start in range(0, len(records), _SUBMITTED):
            some = records[start : start + _SUBMITTED]
            for record, header in zip(some, pool.map(partial(_look, decode_images), some), strict=True):
                if isinstance(header, FaultError):
                    report.error(record.path, f"image {record.id}", str(header))
                else:
                    _report_orientation(header, record, report)


def _look(decode_images: bool, record: ImageRecord) -> Header | FaultError:
    try:
        header = decode(record.path)[1] if decode_images else read_header(record.path)
        check_size(header, record)
    except FaultError as fault:
        return fault
    return header


def _report_orientation(header: Header, record: ImageRecord, report: CheckReport) -> None:
    where, turn = f"image {record.id}", f"EXIF orientation {header.orientation} is applied"
    if header.orientation is None:
        report.group(
            "notice", "damaged EXIF", record.path, where, "the EXIF orientation is damaged; the image is read as stored"
        )
    elif swaps_sides(header.orientation) and header.stored != header.size:
        message = f"{turn}, and the annotations have the size of the upright image"
        report.group("notice", "turned", record.path, where, message)
    elif header.orientation != AS_STORED:
        message = f"{turn}, so its boxes must lie on the upright image; the size cannot tell whether they do"
        report.group("notice", "perhaps turned", record.path, where, message)


def _side(value: Any, key: str) -> int:
    try:
        side = as_id(value, key)
    except FaultError:
        side = 0
    if not 1 <= side <= LARGEST_SIDE:
        raise FaultError(f"{key} must be a whole number in 1..{LARGEST_SIDE}, found {short(value)}")
    return side
