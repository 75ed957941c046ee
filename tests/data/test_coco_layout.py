"""`data coco`: a whole folder of COCO, and what is said where something lacks."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lth_deploy import storage
from lth_deploy.data.coco import layout
from lth_deploy.data.coco.layout import KNOWN_FILES, FileReport, KnownFile, check_layout
from lth_deploy.errors import DataError
from tests.cli.running import Cli

SMALL = (
    KnownFile("instances_train2017", "train2017", 3, 3, categories=2),
    KnownFile("person_keypoints_train2017", "train2017", 3, 3, categories=1, needed=False),
)


def written(folder: Path) -> Path:
    """Three images with an object each."""
    (folder / "annotations").mkdir()
    (folder / "train2017").mkdir()
    images = [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in range(1, 4)]
    for image in images:
        Image.new("RGB", (20, 10)).save(folder / "train2017" / str(image["file_name"]))
    objects = [
        {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [1, 2, 5, 5], "area": 25, "iscrowd": 0}
        for n in range(1, 4)
    ]
    document = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (folder / SMALL[0].path).write_text(json.dumps(document))
    return folder


def checked(folder: Path) -> FileReport:
    return check_layout(folder, known=SMALL)[0]


def test_a_whole_folder_is_complete_and_has_its_digest(tmp_path: Path) -> None:
    first, second = check_layout(written(tmp_path), known=SMALL)
    assert (first.state, first.images, first.present, first.annotations) == ("complete", 3, 3, 3)
    assert first.digest == storage.sha256(tmp_path / SMALL[0].path)
    assert not first.problems
    assert (second.state, second.problems) == ("absent", [])


def test_a_missing_annotation_file_names_its_archive(tmp_path: Path) -> None:
    (written(tmp_path) / SMALL[0].path).unlink()
    one = checked(tmp_path)
    assert one.state == "missing"
    assert one.problems == [
        f"annotations/instances_train2017.json is missing; unpack annotations_trainval2017.zip in {tmp_path}"
    ]


def test_a_missing_image_is_named_and_counted(tmp_path: Path) -> None:
    (written(tmp_path) / "train2017" / "2.png").unlink()
    one = checked(tmp_path)
    assert one.state == "faulty"
    assert "train2017 has 2 of 3 images; unpack train2017.zip again" in one.problems
    assert "2.png" in one.problems[-1]


def test_a_missing_folder_of_images_is_said_once(tmp_path: Path) -> None:
    for file in (written(tmp_path) / "train2017").iterdir():
        file.unlink()
    (tmp_path / "train2017").rmdir()
    assert checked(tmp_path).problems == [f"the folder train2017 is missing; unpack train2017.zip in {tmp_path}"]


def test_an_image_of_another_size_is_a_fault(tmp_path: Path) -> None:
    Image.new("RGB", (8, 10)).save(written(tmp_path) / "train2017" / "3.png")
    assert "8x10" in checked(tmp_path).problems[-1].replace(" ", "")


def test_other_numbers_than_the_published_ones_are_said(tmp_path: Path) -> None:
    document = json.loads((written(tmp_path) / SMALL[0].path).read_text())
    document["annotations"].pop()
    document["categories"].append({"id": 3, "name": "cow"})
    (tmp_path / SMALL[0].path).write_text(json.dumps(document))
    assert checked(tmp_path).problems == [
        "annotations/instances_train2017.json has 3 sound categories and was published with 2",
        "annotations/instances_train2017.json has 2 sound annotations and was published with 3",
    ]


def test_a_file_that_is_no_json_is_a_fault_of_that_file(tmp_path: Path) -> None:
    (written(tmp_path) / SMALL[0].path).write_text("{")
    assert checked(tmp_path).state == "faulty"
    with pytest.raises(DataError, match=r"is no folder; give the one that annotations_trainval2017\.zip"):
        check_layout(tmp_path / "nowhere")


def test_the_command_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli = Cli(capsys, monkeypatch)
    outcome = cli("data", "coco", tmp_path, "--json")
    assert outcome.code == 3
    assert "instances_val2017.json is missing" in outcome.err
    assert [one["name"] for one in json.loads(outcome.out)] == [known.name for known in KNOWN_FILES]
    monkeypatch.setattr(layout.check_layout, "__kwdefaults__", {"decode_images": False, "known": SMALL})
    outcome = cli("data", "coco", written(tmp_path), "--decode")
    assert outcome.code == 0, outcome.err
    assert "complete" in outcome.out
