"""Images from anywhere on the command line: right results, or one sentence and exit code 3."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.running import PROGRAM, Cli
from tests.tiny_artifact import save_data, save_decoder, save_tiny

# As large as the second image of the tiny data set.
NOISE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """99 million pixels of one color in 12 kB."""
    width, height = 11000, 9000
    rows = zlib.compress((b"\0" + bytes(width // 8)) * height, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    parts = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


REFUSED = {
    "DDS": (encoded("DDS"), "not a JPEG, PNG, BMP or WEBP image"),
    "TIFF": (encoded("TIFF"), "not a JPEG, PNG, BMP or WEBP image"),
    "text": (b"GIF89a, or so it says", "not a JPEG, PNG, BMP or WEBP image"),
    "cut": (encoded("JPEG")[:900], "damaged image"),
    "empty": (b"", "not a JPEG, PNG, BMP or WEBP image"),
    "bomb": (bomb(), "99,000,000 pixels (11000x9000); at most 67,108,864"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_predict_and_the_check_refuse_in_one_sentence(name: str, cli: Cli, tmp_path: Path) -> None:
    data, words = REFUSED[name]
    annotations, images = save_data(tmp_path)
    (images / "2.png").write_bytes(data)
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    outcome = cli("predict", model, images / "2.png", "--out", tmp_path / "out", "--decoder", decoder)
    assert outcome.code == 3
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    for extra in ([], ["--fast"]):
        outcome = cli("data", "check", annotations, images, *extra)
        found = [line for line in outcome.out.splitlines() if "image 2: " in line]
        # Only decoding shows that a file ends too early.
        assert (outcome.code, len(found)) == ((0, 0) if name == "cut" and extra else (3, 1))
        assert all(words in line for line in found)


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [(2, 9, b"\x1a\0\0\0"), (2, 2, b"6\0\0\0"), (3, 1, b"\0\0\0\0"), (3, 1, b"\x09\0\0\0"), (4, 1, b"\0\0\1\0")],
    ids=["text elsewhere", "text", "0", "9", "65536"],
)
def test_an_orientation_that_is_none_changes_nothing(
    kind: int, count: int, value: bytes, cli: Cli, tmp_path: Path
) -> None:
    block = b"Exif\0\0II" + struct.pack("<HIHHHI", 42, 8, 1, 0x0112, kind, count) + value + b"\0\0\0\0sideways\0"
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", exif=block))
    (tmp_path / "plain.jpg").write_bytes(encoded("JPEG"))
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    files = [tmp_path / "a.jpg", tmp_path / "plain.jpg"]
    assert cli("predict", model, *files, "--out", tmp_path / "out", "--decoder", decoder).code == 0
    assert (tmp_path / "out" / "a.png").read_bytes() == (tmp_path / "out" / "plain.png").read_bytes()


READ = """
import sys, resource
from pathlib import Path
from lth_deploy.data.images import read_image
from lth_deploy.errors import DataError
try:
    read_image(Path(sys.argv[1]))
except DataError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_bomb_takes_no_memory_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb())
    assert (tmp_path / "a.png").stat().st_size < 50_000
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    arguments = ["predict", model, tmp_path / "a.png", "--out", tmp_path / "out", "--decoder", decoder]
    done = subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 3
    # Pillow has a warning for such files too: one sentence is enough.
    assert done.stderr.count("\n") == 1
    # Through a small process: what this one takes would count for its children until they begin.
    shell = ["/bin/sh", "-c", '"$0" -c "$1" "$2"; exit', sys.executable, READ, str(tmp_path / "a.png")]
    peak = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=300).stdout
    assert int(peak) < 150_000


def test_names_of_thousands_of_characters_are_one_sentence(cli: Cli, tmp_path: Path) -> None:
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    outcome = cli("predict", model, tmp_path / ("x" * 5000), "--out", tmp_path / "out", "--decoder", decoder)
    assert outcome.code == 3
    assert "no such image file" in outcome.err
    assert len(outcome.err) < 600


def test_from_voc_says_what_it_put_in_order(cli: Cli, tmp_path: Path) -> None:
    corners = "<xmin>{}</xmin><ymin>4</ymin><xmax>{}</xmax><ymax>25</ymax>"
    for name, (left, right) in {"a 1": (20, 3), "b": (3, 20)}.items():
        box = f"<object><name>cup</name><bndbox>{corners.format(left, right)}</bndbox></object>"
        (tmp_path / f"{name}.XML").write_text(f"<annotation>{box}</annotation>")
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.PNG")
    outcome = cli("data", "from-voc", tmp_path, tmp_path / "out.json")
    assert outcome.code == 0
    assert "swapped corners were put in order: 1 object in 1 file; the first is object 1" in outcome.out
    assert "a 1.XML: xmin 20, ymin 4, xmax 3, ymax 25" in outcome.out
    assert cli("data", "check", tmp_path / "out.json", tmp_path).code == 0
    document = json.loads((tmp_path / "out.json").read_text())
    assert [one["bbox"] for one in document["annotations"]] == [[2, 3, 18, 22]] * 2
