"""Images that the consumer reads itself: the values that Python computes, under sanitizers, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from PIL import Image

from lth_deploy.boards.bundle import Bundle
from lth_deploy.boards.image_files import ImageFile, fill_requests
from lth_deploy.boards.link import Link
from lth_deploy.data.images import read_image
from lth_deploy.data.records import ImageRecord
from lth_deploy.decoders.boxes.decoder import BoxDecoder
from lth_deploy.decoders.boxes.selection import Limits, Proposals
from lth_deploy.decoders.image import usual
from lth_deploy.decoders.image.inputs import ImageInput
from lth_deploy.decoders.image.preprocessing import Preprocessing
from lth_deploy.decoders.lth import LthDecoder
from lth_deploy.workflow.boards.images_there import images_there
from tests.boards.conftest import Start
from tests.boards.image_samples import asked, noise, png
from tests.boards.requests import opened, ran

FAMILIES = {name: how for name in dir(usual) if isinstance(how := getattr(usual, name), Preprocessing)}
SIZES = ((61, 83), (130, 40), (7, 1), (33, 100))
CANVASES = (("float32", "NCHW", 64, 48), ("float16", "NHWC", 40, 96), ("float32", "CHW", 130, 40))


def boxes(kind: str, layout: str, height: int, width: int, how: Preprocessing) -> BoxDecoder:
    """A decoder of which only the input counts. others: every small input that exporters add."""
    others = {"orig_target_sizes": "int64", "scale_factor": "float32"}
    image = ImageInput("image", kind, layout, height, width, others)  # type: ignore[arg-type]

    def read(*_: object) -> Proposals:
        raise AssertionError("nothing is decoded")

    return BoxDecoder(image, how, read, Limits(0.1, 0.5), None)


def identity(folder: Path, *inputs: tuple[str, str]) -> Path:
    """A model that returns its inputs, of any shape; each has a name and a type."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for name, kind in inputs}
    nodes = [helper.make_node("Identity", [name], [f"{name} again"]) for name in kinds]
    ends = [
        [helper.make_tensor_value_info(f"{name}{end}", kind, None) for name, kind in kinds.items()]
        for end in ("", " again")
    ]
    graph = helper.make_graph(nodes, "identity", *ends)
    path = folder / f"{'-'.join(kind for _, kind in inputs)}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def described(path: Path) -> tuple[ImageRecord, ImageFile]:
    """A file for a model that takes the pixels as they are."""
    height, width = read_image(path).shape[:2]
    record = ImageRecord(1, path, path.name, width, height)
    return record, images_there([record]).input_of(LthDecoder(), record)[0]


@pytest.fixture
def reads(start: Start, programs: Bundle, tmp_path: Path) -> Callable[[Path], npt.NDArray[np.generic]]:
    """The pixels of a file as the consumer reads them."""
    link = start()
    opened(link, "0", identity(tmp_path, ("image", "uint8")), programs)

    def read(path: Path) -> npt.NDArray[np.generic]:
        asked(link, "s", described(path)[1], path)
        return ran(link, "0", "s")["image again"]

    return read


def test_the_inputs_of_every_family_are_those_of_python(start: Start, programs: Bundle, tmp_path: Path) -> None:
    """To the last bit, of PNG: resized by each method to more and to fewer pixels, each axis for itself."""
    link = start()
    others = [("orig_target_sizes", "int64"), ("scale_factor", "float32")]
    for kind in ("float32", "float16"):
        opened(link, kind, identity(tmp_path, ("image", kind), *others), programs)
    for height, width in SIZES:
        path = tmp_path / f"{height}.png"
        pixels = noise(height, width)
        Image.fromarray(pixels).save(path)
        record = ImageRecord(1, path, path.name, width, height)
        there = images_there([record])
        for name, how in FAMILIES.items():
            for canvas in CANVASES:
                decoder = boxes(*canvas, how)
                expected, where = decoder.prepare(pixels)
                file, context = there.input_of(decoder, record)
                assert context == where
                asked_with(link, file, path)
                found = ran(link, canvas[0], "s")
                for key, value in expected.items():
                    np.testing.assert_array_equal(found[f"{key} again"], value, strict=True, err_msg=f"{name} {canvas}")


def asked_with(link: Link, file: ImageFile, path: Path) -> None:
    """As a board does: the other inputs, and then the image."""
    others, (words, _) = fill_requests("s", file, str(path.parent))
    link.ask(*others, seconds=300)
    words[2] = str(path)
    link.ask(words, seconds=300)


def test_png_of_every_kind_has_the_pixels_of_python(
    reads: Callable[[Path], npt.NDArray[np.generic]], tmp_path: Path
) -> None:
    image = Image.fromarray(noise(40, 30))
    saved = {mode: image.convert(mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")}
    for mode, one in saved.items():
        one.save(tmp_path / f"{mode}.png")
    for bits in (1, 2, 4):
        image.quantize(1 << bits).save(tmp_path / f"P{bits}.png", bits=bits)
    saved["P"].save(tmp_path / "clear.png", transparency=3)
    deep = np.random.default_rng(0).integers(0, 1 << 16, (5, 4, 3), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(png(deep.astype(">u2").tobytes(), 4, 5, depth=16, color=2))
    files = sorted(tmp_path.glob("*.png"))
    assert len(files) == 11
    for path in files:
        np.testing.assert_array_equal(reads(path), read_image(path), err_msg=path.name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_are_turned_upright(kind: str, reads: Callable[[Path], npt.NDArray[np.generic]], tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{kind}"
        Image.fromarray(noise(24, 40)).save(path, kind, exif=exif, quality=95, subsampling=0)
        difference = reads(path).astype(int) - read_image(path)
        assert np.abs(difference).max() <= (0 if kind == "PNG" else 4)


def test_an_orientation_behind_the_pixels_counts(
    reads: Callable[[Path], npt.NDArray[np.generic]], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "one.png"
    Image.fromarray(noise(24, 40)).save(path, exif=exif)
    data = path.read_bytes()
    start, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    path.write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    assert reads(path).shape == (40, 24, 3)
    np.testing.assert_array_equal(reads(path), read_image(path))


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"progressive": True, "restart_marker_blocks": 1}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_jpeg_differs_by_rounding_only(
    mode: str, more: dict[str, int], reads: Callable[[Path], npt.NDArray[np.generic]], tmp_path: Path
) -> None:
    path = tmp_path / "one.jpg"
    Image.fromarray(noise(90, 70)).convert(mode).save(path, quality=90, **more)
    difference = np.abs(reads(path).astype(int) - read_image(path))
    if more.get("subsampling") == 1:
        difference = np.delete(difference, -2, axis=1)  # where stb_image mixes colors the other way round
    assert difference.max() <= 5
    assert difference.mean() < 0.25
