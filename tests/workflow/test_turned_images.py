"""A data set of turned photos gives the very results of the same photos stored upright, whatever reads it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.crops import cut_objects
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.benchmark.candidates import calibration_images
from lth_deploy.workflow.evaluate import detect_all
from lth_deploy.workflow.predict import predict
from tests.tiny_artifact import save_data, save_decoder, save_tiny

CONSUMERS = Path(__file__).parents[2] / "export" / "consumers"
# What an image is stored as so that the orientation makes it upright again.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(images: Path, out: Path) -> Path:
    """The same photos with the orientations 1 to 8 in turn."""
    out.mkdir()
    for file in sorted(images.iterdir()):
        orientation = int(file.stem) % 8 + 1
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(file) as image:
            stored = image if STORED[orientation] is None else image.transpose(STORED[orientation])
            stored.save(out / file.name, exif=exif)
        with Image.open(file) as image, Image.open(out / file.name) as again:
            assert np.array_equal(np.asarray(image), np.asarray(ImageOps.exif_transpose(again)))
    return out


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Annotations, photos stored upright, and the same photos turned."""
    data, images = save_data(tmp_path, images=8)
    return data, images, turned(images, tmp_path / "turned")


def test_evaluation_scores_the_same_detections(both: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, *folders = both
    artifact = open_artifact(save_tiny(tmp_path / "tiny.onnx"), decoder=save_decoder(tmp_path))
    upright, other = (detect_all(artifact, load_coco(data, folder))[0] for folder in folders)
    for number, found in upright.items():
        assert np.array_equal(found.scores, other[number].scores)
        assert np.array_equal(found.boxes, other[number].boxes)


def test_predict_draws_upright_pictures_and_says_the_same(both: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, *folders = both
    model, decoder = save_tiny(tmp_path / "tiny.onnx"), save_decoder(tmp_path)
    found: list[Any] = []
    for folder in folders:
        out = tmp_path / f"out-{folder.name}"
        predict(model, sorted(folder.iterdir()), out, threshold=0.1, decoder=decoder)
        rows = json.loads((out / "detections.json").read_text())
        found.append([{**row, "image": Path(row["image"]).name} for row in rows])
    assert found[0] == found[1]
    for number in range(1, 9):
        pictures = [tmp_path / f"out-{folder.name}" / f"{number}.png" for folder in folders]
        assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_training_sees_the_same_images_and_boxes(both: tuple[Path, Path, Path]) -> None:
    torch = pytest.importorskip("torch")
    from lth_deploy.data.batches.loader import DetectionDataset

    data, *folders = both
    upright, other = (DetectionDataset(load_coco(data, folder), load_size=(60, 50)) for folder in folders)
    for index in range(8):
        (image, target), (again, target_again) = upright.item(index), other.item(index)
        assert torch.equal(image, again)
        assert torch.equal(target["boxes"], target_again["boxes"])


def test_calibration_and_crops_take_the_same_pixels(both: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from lth_deploy.data.images import read_image

    data, *folders = both
    pixels = [
        [read_image(file) for file in calibration_images(folder, load_coco(data, folder), 8)[0]] for folder in folders
    ]
    assert all(np.array_equal(one, other) for one, other in zip(*pixels, strict=True))
    for folder in folders:
        cut_objects(data, folder, tmp_path / f"crops-{folder.name}")
    first, second = (tmp_path / f"crops-{folder.name}" for folder in folders)
    crops = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(crops) == 16
    assert all((first / crop).read_bytes() == (second / crop).read_bytes() for crop in crops)


def test_the_programs_without_the_package_see_the_same(both: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, *folders = both
    for folder in folders:
        command = [sys.executable, "-I", CONSUMERS / "cpp" / "to_ppm.py", data, folder, tmp_path / f"ppm-{folder.name}"]
        subprocess.run(command, check=True, timeout=300)
    for number in range(1, 9):
        first, second = (tmp_path / f"ppm-{folder.name}" / f"{number}.ppm" for folder in folders)
        assert first.read_bytes() == second.read_bytes()
    model = save_tiny(tmp_path / "tiny.onnx")
    lines = []
    for folder in folders:
        program = CONSUMERS / "python" / "run.py"
        command = [sys.executable, "-I", program, model, *sorted(folder.iterdir()), "--score", "0"]
        text = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True).stdout
        lines.append([line.split()[1:] for line in text.splitlines()])
    assert len(lines[0]) == 16
    assert lines[0] == lines[1]


def test_the_converter_of_the_consumers_is_not_led_out_of_the_folder(tmp_path: Path) -> None:
    data, images = save_data(tmp_path)
    document = json.loads(data.read_text())
    for name in ("..\\secret.png", "../secret.png", "/etc/hostname"):
        document["images"][0]["file_name"] = name
        data.write_text(json.dumps(document))
        Image.new("RGB", (72, 60)).save(tmp_path / "secret.png")
        command = [sys.executable, "-I", CONSUMERS / "cpp" / "to_ppm.py", data, images, tmp_path / "ppm"]
        done = subprocess.run(command, check=False, timeout=300, capture_output=True, text=True)
        assert done.returncode == 1
        assert "leads out" in done.stderr
