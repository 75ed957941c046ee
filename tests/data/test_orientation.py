"""EXIF orientation: what Pillow's own transposition makes of every value, wherever the package reads an image."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.exif import read_orientation
from lth_deploy.data.image_folder import convert_folder
from lth_deploy.data.images import read_header, read_image, read_record
from lth_deploy.errors import DataError
from tests.data.sound_coco import HEIGHT, WIDTH, CocoFolder

TURNED = range(5, 9)


def photo(path: Path, orientation: object, size: tuple[int, int] = (WIDTH, HEIGHT), exif: bytes | None = None) -> Path:
    """A file of noise whose pixels are stored in `size`, with an orientation, or with the EXIF block given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = Image.Exif()
    block[0x0112] = orientation
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, exif=block.tobytes() if exif is None else exif, **options)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = photo(tmp_path / f"a.{suffix}", orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_image(path), expected)
    header = read_header(path)
    assert (header.stored, header.orientation) == ((WIDTH, HEIGHT), orientation)
    assert header.size == expected.shape[1::-1]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I")])
def test_both_byte_orders_and_every_type_of_whole_number(order: str, kind: int, code: str) -> None:
    value = struct.pack(order + code, 6).ljust(4, b"\0")
    entries = struct.pack(order + "HHI", 0x010F, 3, 1) + bytes(4) + struct.pack(order + "HHI", 0x0112, kind, 1) + value
    block = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 2) + entries + bytes(4)
    assert read_orientation(block) == read_orientation(b"Exif\0\0" + block) == 6
    assert {read_orientation(block[:length]) for length in range(1, len(block) - 7)} == {None}


def entry(kind: int, count: int, value: bytes) -> bytes:
    return b"Exif\0\0II" + struct.pack("<HIHHHI", 42, 8, 1, 0x0112, kind, count) + value + bytes(4)


DAMAGED = {
    "text": entry(2, 2, b"6\0\0\0"),
    "text of ten letters": entry(2, 10, b"\x1a\0\0\0") + b"horizontal",
    "0": entry(3, 1, b"\0\0\0\0"),
    "9": entry(3, 1, b"\x09\0\0\0"),
    "no value": entry(3, 0, b"\x06\0\0\0"),
    "a fraction": entry(5, 1, b"\x1a\0\0\0") + bytes(8),
    "cut": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
    "directory outside": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "other byte order": b"Exif\0\0XX*\0\x08\0\0\0",
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_damaged_orientation_is_reported_and_the_image_read_as_stored(
    name: str, suffix: str, coco_folder: CocoFolder
) -> None:
    path = photo(coco_folder.images / f"a.{suffix}", 1, exif=DAMAGED[name])
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(read_image(path), expected)
    coco_folder.document["images"][0]["file_name"] = path.name
    coco_folder.write()
    (finding,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (finding.severity, finding.where) == ("notice", "image 7")
    assert "orientation is damaged" in finding.message


def turned_folder(coco_folder: CocoFolder, orientation: int, stored: tuple[int, int]) -> CocoFolder:
    for entry in coco_folder.document["images"]:
        entry["file_name"] = f"{entry['id']}.jpg"
        photo(coco_folder.images / entry["file_name"], orientation, stored)
    coco_folder.write()
    return coco_folder


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_reported_once_for_all_images(
    orientation: int, decode: bool, coco_folder: CocoFolder
) -> None:
    stored = (HEIGHT, WIDTH) if orientation in TURNED else (WIDTH, HEIGHT)
    turned_folder(coco_folder, orientation, stored)
    report = check_coco(coco_folder.annotations, coco_folder.images, decode_images=decode)
    (finding,) = report.findings
    assert report.passed
    assert finding.where == "image 7"
    assert f"EXIF orientation {orientation}" in finding.message
    assert "2 more" in finding.message
    known = "the annotations have the size of the upright image"
    assert (known in finding.message) == (orientation in TURNED)


def test_a_square_image_is_reported_as_one_whose_size_tells_nothing(coco_folder: CocoFolder) -> None:
    for entry in coco_folder.document["images"]:
        entry["width"] = entry["height"] = HEIGHT
    coco_folder.document["annotations"] = []
    turned_folder(coco_folder, 6, (HEIGHT, HEIGHT))
    (finding,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert "the size cannot tell" in finding.message


@pytest.mark.parametrize("orientation", TURNED)
def test_annotations_of_the_pixels_as_stored_are_refused_before_anything_starts(
    orientation: int, coco_folder: CocoFolder
) -> None:
    turned_folder(coco_folder, orientation, (WIDTH, HEIGHT))
    errors = check_coco(coco_folder.annotations, coco_folder.images).of("error")
    assert [error.where for error in errors] == ["image 7", "image 9", "image 11"]
    assert all("as stored" in e.message and f"orientation {orientation}" in e.message for e in errors)
    with pytest.raises(DataError, match=f"{WIDTH}x{HEIGHT}, the size of the pixels as stored"):
        load_coco(coco_folder.annotations, coco_folder.images)


def test_a_file_that_is_turned_after_the_check_is_refused_when_it_is_read(coco_folder: CocoFolder) -> None:
    dataset = load_coco(coco_folder.annotations, coco_folder.images)
    photo(coco_folder.images / "a.png", 8)
    with pytest.raises(DataError, match="image 7: the annotations say"):
        read_record(dataset.images[0])


def test_pictures_of_an_image_folder_are_measured_upright(tmp_path: Path) -> None:
    photo(tmp_path / "set" / "one" / "a.jpg", 6, (WIDTH, HEIGHT))
    root = convert_folder(tmp_path / "set", tmp_path / "a.json")
    (record,) = load_coco(tmp_path / "a.json", root).images
    assert (record.width, record.height) == (HEIGHT, WIDTH) == read_record(record).shape[1::-1]
