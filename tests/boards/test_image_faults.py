"""Files that are no images, wrong requests, and files on their way to a board: one sentence each, under sanitizers."""

import hashlib
import re
import struct
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lth_deploy.boards.image_files import ImageFile, store_images
from lth_deploy.data.records import ImageRecord
from lth_deploy.decoders.image.plan import planner_of
from lth_deploy.decoders.lth import LthDecoder
from lth_deploy.errors import BoardError, DataError
from lth_deploy.workflow.boards.images_there import images_there
from tests.boards.conftest import Start
from tests.boards.image_samples import asked, chunk, noise, png
from tests.cross import PROJECT
from tests.fuzz.mutate_images import damaged_picture, picture

THIRD_PARTY = PROJECT / "export" / "consumers" / "cpp" / "third_party"


SOUND = png(bytes(12), 2, 2)
CLAIMS = SOUND.replace(SOUND[8:33], chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)))
JPEG = picture("JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is neither a JPEG nor a PNG"),
        (b"not an image", "is neither a JPEG nor a PNG"),
        (picture("BMP"), "is neither a JPEG nor a PNG"),
        (picture("GIF"), "is neither a JPEG nor a PNG"),
        (SOUND[:-12], "is cut short"),
        (SOUND[:50], "is cut short"),
        (JPEG[: len(JPEG) // 2], "is cut short"),
        (JPEG[:-2], "is cut short"),
        (JPEG[:3], "is cut short"),
        (CLAIMS, "has 60000x60000 pixels; at most 8192x8192 are decoded: scale the image down"),
        (SOUND[:33] + bytes([255] * 4) + SOUND[37:], "is cut short"),
        (SOUND[:45] + b"\xff" + SOUND[46:], "is a damaged PNG: the checksum of its chunk of pixels is wrong"),
        (SOUND.replace(b"IDAT", b"IDAX"), "is a damaged PNG: the checksum of its chunk IDAX is wrong"),
        (png(bytes(8), 2, 2, depth=16, color=0), "is gray with 16 bits, whose range is unknown"),
        (png(bytes(12), 2, 2, before=chunk(b"acTL", bytes(8))), "is an animation"),
        (png(bytes(100_000_000), 2, 2), "is a damaged image, or of a rare kind: Out of memory"),
        (png(b"\7" * 12, 2, 2)[:33] + chunk(b"IDAT", b"nonsense") + SOUND[-12:], "is a damaged image"),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc9"), "is a damaged image, or of a rare kind"),
        (SOUND, "has another size here than on the host"),
    ],
    ids=range(19),
)
def test_what_is_no_image_is_one_sentence(data: bytes, message: str, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    file = ImageFile("", "folder/a file.png", "image", ("stored", "30x40", "orientation", "1"), {})
    link = start()
    with pytest.raises(BoardError, match=re.escape(f"folder/a file.png {message}")):
        asked(link, "s", file, path)
    assert link.ask(["hello"], seconds=300)[0]["protocol"]


@pytest.mark.filterwarnings("ignore:IM image format:DeprecationWarning", "ignore:Metadata Warning")
def test_damaged_images_end_in_pixels_or_in_one_sentence(start: Start, tmp_path: Path) -> None:
    link, random, refused = start(), Random(20), list[str]()
    path = tmp_path / "file"
    keys = ("orientation", "6", "type", "1", "layout", "NCHW", "order", "bgr", "values", "1,2,2,2,3,3,3")
    keys += ("canvas", "20x30", "pad", "1,2,3", "inner", "10x20", "corner", "10x10", "first", "height")
    for number in range(400):
        path.write_bytes(damaged_picture(random))
        method = random.choice(("bilinear", "bilinear-antialiased", "bicubic-antialiased", "none", "affine"))
        more = ("stored", random.choice(("30x40", "30x40", "1x40")), "resize", method, "affine", "0.7,1.5,-3")
        try:
            asked(link, "s", ImageFile("", "one.png", "image", (*keys, *more), {}), path)
        except BoardError as error:
            refused.append(f"number {number}: {error}")
    assert [message for message in refused if not re.search(r"one\.png (is|has) ", message)] == []
    assert 200 < len(refused) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner": "21x20"}, "image does not fit on its canvas"),
        ({"inner": "0x20"}, "a number of a request is wrong: 0"),
        ({"canvas": "30000x30000"}, "the input is too large for an image"),
        ({"canvas": "7"}, "image needs HEIGHTxWIDTH for canvas"),
        ({"pad": "1,2"}, "image has a wrong number of values for pad"),
        ({"pad": "1,2,900"}, "image has a wrong pad"),
        ({"values": "1,2,2,2,3,3,nan"}, "image has a wrong values"),
        ({"layout": "NCHWC"}, "image has an unknown layout NCHWC"),
        ({"type": "7"}, "images are not read as values of ONNX's type 7"),
        ({"orientation": "9"}, "a number of a request is wrong: 9"),
        ({"resize": "nearest"}, "images are not resized by the method nearest"),
        ({"resize": "affine", "affine": "0,1,1"}, "image has a wrong affine"),
    ],
)
def test_a_wrong_request_for_an_image_is_an_error(
    changes: dict[str, str], message: str, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(noise(30, 40)).save(path)
    keys = {"stored": "30x40", "orientation": "1", "type": "1", "layout": "NCHW", "order": "rgb", "first": "width"}
    keys |= {"canvas": "20x30", "pad": "1,2,3", "inner": "10x20", "corner": "10x10", "resize": "bilinear"}
    words = [word for pair in (keys | changes).items() for word in pair]
    link = start()
    with pytest.raises(BoardError, match=re.escape(message)):
        asked(link, "s", ImageFile("", "one.png", "image", tuple(words), {}), path)
    asked(link, "s", ImageFile("", "one.png", "image", tuple(w for pair in keys.items() for w in pair), {}), path)


def test_files_are_stored_once_and_only_whole(start: Start, tmp_path: Path) -> None:
    link, folder = start(), tmp_path / "board"
    folder.mkdir()
    sent: list[str] = []

    def ask(words: list[str], data: list[memoryview] = []) -> tuple[dict[str, object], bytes]:  # noqa: B006
        sent.append(words[0])
        return link.ask(words, data, seconds=300)

    files = {}
    for number in range(450):
        path = tmp_path / f"{number}"
        path.write_bytes(b"%d" % number)
        files[hashlib.sha256(path.read_bytes()).hexdigest()] = path
    store_images(ask, "local", str(folder), files)  # type: ignore[arg-type]
    assert sent.count("store") == 450
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        digest: path.read_bytes() for digest, path in files.items()
    }
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
    damaged = folder / next(iter(files))
    damaged.write_bytes(b"other")
    sent.clear()
    store_images(ask, "local", str(folder), files)  # type: ignore[arg-type]
    assert sent.count("store") == 1
    wrong = hashlib.sha256(b"one").hexdigest()
    with pytest.raises(BoardError, match=f"a file arrived damaged: {wrong}"):
        ask(["store", str(folder), wrong, "3"], [memoryview(b"two")])
    with pytest.raises(BoardError, match=r"a file has no SHA-256 for a name: \.\./x"):
        ask(["store", str(folder), "../x", "3"], [memoryview(b"two")])
    with pytest.raises(BoardError, match=r"cannot write .*No such file"):
        ask(["store", str(tmp_path / "none"), wrong, "3"], [memoryview(b"one")])
    assert len(list(folder.iterdir())) == 450
    (tmp_path / "large").touch()
    with (tmp_path / "large").open("r+b") as file:
        file.truncate(1 << 43)
    with pytest.raises(BoardError, match=r"local has \d+ MB free in .*, \d+ MB are needed; free some space"):
        store_images(ask, "local", str(folder), {"0" * 64: tmp_path / "large"})  # type: ignore[arg-type]


def test_headers_are_held_before_anything_is_copied(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 6)).save(tmp_path / "a.bmp")
    Image.fromarray(noise(8, 6)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.bmp: image 1: boards read JPEG and PNG only; convert it"):
        images_there([ImageRecord(1, tmp_path / "a.bmp", "a.bmp", 6, 8)])
    with pytest.raises(DataError, match="image 1: the image is 6x8 pixels, the annotations say 5x8"):
        images_there([ImageRecord(1, tmp_path / "a.png", "a.png", 5, 8)])


def test_a_decoder_of_the_users_own_is_none_that_a_board_has() -> None:
    class Own(LthDecoder):
        def prepare(self, image: npt.NDArray[np.uint8]) -> tuple[dict[str, npt.NDArray[np.generic]], object]:
            return {"image": image[::2]}, image.shape[:2]

    assert planner_of(LthDecoder()) is not None
    assert planner_of(type("Named", (LthDecoder,), {"class_names": ("cell",)})()) is not None
    assert planner_of(Own()) is None
    assert planner_of(object()) is None


def test_stb_image_is_the_file_that_was_reviewed() -> None:
    """Version 2.30; whoever replaces it reads what has changed, and runs the test of damaged images."""
    data = (THIRD_PARTY / "stb_image.h").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "594c2fe35d49488b4382dbfaec8f98366defca819d916ac95becf3e75f4200b3"
    text = (THIRD_PARTY / "stb_image.LICENSE").read_text()
    _, _, license = text.partition(":\n\n")
    assert license.strip() in data.decode()
    assert "MIT License" in license
    assert "Public Domain" in license
    source = (THIRD_PARTY.parent / "image_file.cpp").read_text()
    assert re.findall(r"#define STBI_ONLY_(\w+)", source) == ["JPEG", "PNG"]
