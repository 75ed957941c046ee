import contextlib
import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import lth_deploy
from lth_deploy.data.images import LARGEST_AREA, read_header, read_image
from lth_deploy.data.json_values import FaultError
from lth_deploy.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def rgb_of(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1", "LA"])
def test_every_eight_bit_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).convert(mode).save(path)
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, rgb_of(path))
    if mode in ("RGB", "RGBA"):
        assert np.array_equal(pixels, NOISE)
    elif mode != "P":
        assert np.array_equal(
            pixels[..., 0],
            np.asarray(Image.fromarray(NOISE).convert("L" if mode == "LA" else mode)) * (255 if mode == "1" else 1),
        )


def test_a_palette_and_transparency_give_the_colors_beneath(tmp_path: Path) -> None:
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1, 0, 1, 1, 1, 1, 0])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert read_image(tmp_path / "a.png")[0].tolist() == [[10, 20, 30], [200, 100, 50]] * 2
    clear = np.dstack([NOISE, np.zeros((40, 40), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), NOISE)


def test_cmyk_photos_of_image_editors_are_not_negatives(tmp_path: Path) -> None:
    # Image editors store them inverted and say so with the marker that Pillow writes as well.
    Image.new("RGB", (16, 16), (250, 120, 10)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (250, 120, 10)).max() < 8


def test_sixteen_bit_gray_is_refused_because_its_range_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 5), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="8 bits"):
        read_image(tmp_path / "a.png")


def test_sixteen_bit_colors_keep_their_upper_eight_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (3, 5, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 5, 3, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    (tmp_path / "a.png").write_bytes(png(chunks))
    assert np.array_equal(read_image(tmp_path / "a.png"), values >> 8)


def png(chunks: dict[bytes, bytes]) -> bytes:
    parts = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_animations_are_refused_as_nobody_knows_which_frame_is_meant(suffix: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation"):
        read_image(tmp_path / f"a.{suffix}")


def test_the_photo_of_a_multi_picture_jpeg_is_read(tmp_path: Path) -> None:
    """Phones put a preview or a depth image behind the photo."""
    Image.fromarray(NOISE).save(tmp_path / "photo.jpg", quality=95)
    again = Image.new("RGB", (8, 8))
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[again], quality=95)
    assert np.array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "photo.jpg"))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PPM", "ICO", "TGA", "DDS", "PDF", "EPS", "SPIDER"])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_other_formats_are_refused_whatever_the_file_is_called(
    kind: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(NOISE)
    buffer = io.BytesIO()
    (image.convert("F") if kind == "SPIDER" else image).save(buffer, kind)
    path.write_bytes(buffer.getvalue())
    with pytest.raises((DataError, FaultError), match="not a JPEG, PNG, BMP or WEBP image"):
        read(path)


def test_the_name_does_not_decide_on_the_format(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.jpg", "PNG")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), NOISE)


@pytest.mark.parametrize("keep", [0, 10, 60, 300, 900])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_a_cut_file_is_a_data_error_that_names_it(suffix: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=re.escape(f"a.{suffix}")):
        read_image(path)


@pytest.mark.parametrize(("width", "height"), [(8192, 8193), (12000, 12000), (65500, 1025), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_pixels_than_the_bound_are_refused_before_they_are_decoded(
    width: int, height: int, tmp_path: Path
) -> None:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png({b"IHDR": header, b"IDAT": zlib.compress(b""), b"IEND": b""}))
    for read in (read_image, read_header):
        with pytest.raises((DataError, FaultError), match=f"{width * height:,} pixels.*at most {LARGEST_AREA:,}"):
            read(tmp_path / "a.png")


def test_no_damaged_file_gives_anything_but_a_data_error(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "bmp", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(NOISE).save(path, exif=exif) if suffix != "bmp" else Image.fromarray(NOISE).save(path)
        sound = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(150):
            damaged = sound.copy()
            # Half of the damage to the first bytes, which decide on everything else.
            place = random.integers(0, (len(sound), 120)[int(random.integers(2))], 1 + random.integers(6))
            damaged[place] = random.integers(0, 256, len(place))
            path.write_bytes(damaged.tobytes())
            with contextlib.suppress(DataError), warnings.catch_warnings(action="ignore"):
                assert read_image(path).shape[2] == 3


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "gone.png", tmp_path, tmp_path / "pipe.png", tmp_path / ("x" * 5000), tmp_path / "a\0.png"):
        with pytest.raises(DataError):
            read_image(path)


def test_every_image_of_the_package_is_read_in_one_place() -> None:
    package = Path(lth_deploy.__file__).parent
    callers = [file for file in package.rglob("*.py") if "Image.open(" in file.read_text(encoding="utf-8")]
    assert callers == [package / "data" / "images.py"]
