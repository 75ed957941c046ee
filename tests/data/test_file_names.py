"""Names out of annotation files, and the files of a folder that they mean."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.file_names import ImageFolder
from lth_deploy.data.json_values import FaultError
from lth_deploy.errors import DataError
from tests.data.sound_coco import HEIGHT, WIDTH, CocoFolder


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", ["val/a b.png", "val\\a b.png", ".\\val\\a b.png", "./val//a b.png", "val/.\\a b.png"])
def test_folders_are_separated_by_either_slash(name: str, tmp_path: Path) -> None:
    path = touch(tmp_path / "val" / "a b.png")
    found = ImageFolder(tmp_path).find(name)
    assert (found.path, found.other_name) == (path, None)


def test_a_file_with_a_backslash_in_its_name_goes_before_a_folder(tmp_path: Path) -> None:
    plain, inside = touch(tmp_path / "val\\a.png"), touch(tmp_path / "val" / "a.png")
    assert ImageFolder(tmp_path).find("val\\a.png").path == plain
    plain.unlink()
    assert ImageFolder(tmp_path).find("val\\a.png").path == inside


OUTSIDE = [
    "../a.png",
    "val/../../a.png",
    "val/../a.png",
    "/a.png",
    "..\\a.png",
    "val\\..\\..\\a.png",
    "C:\\data\\a.png",
    "C:/data/a.png",
    "\\\\server\\share\\a.png",
    "\\a.png",
    "",
    ".",
    "a\0.png",
    "\ud800.png",
    "x" * 5000 + ".png",
    "val/" + "é" * 128,
]


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: repr(name)[:30])
def test_nothing_outside_is_reached(name: str, tmp_path: Path, coco_folder: CocoFolder) -> None:
    touch(tmp_path.parent / "a.png")
    with pytest.raises(FaultError, match="file_name"):
        ImageFolder(tmp_path).find(name)
    coco_folder.document["images"][0]["file_name"] = name
    coco_folder.write()
    (finding,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (finding.severity, finding.where) == ("error", "image 7")
    assert len(str(finding)) < 600
    str(finding).encode()


def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    outside, inside = touch(tmp_path / "outside" / "a.png"), touch(folder / "real" / "b.png")
    (folder / "file.png").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "again.png").symlink_to(inside)
    (tmp_path / "other").symlink_to(folder)
    for name in ("file.png", "FILE.png", "folder/a.png", "folder\\a.png"):
        for root in (folder, tmp_path / "other"):
            with pytest.raises(FaultError, match="link that leads out of the image folder"):
                ImageFolder(root).find(name)
    # The folder itself may be a link, and links that stay inside are files like others.
    assert ImageFolder(tmp_path / "other").find("again.png").path == tmp_path / "other" / "again.png"
    (folder / "file.png").unlink()
    os.link(outside, folder / "file.png")
    assert ImageFolder(folder).find("file.png").path == folder / "file.png"


def test_the_one_file_that_differs_in_case_or_unicode_form_is_taken(tmp_path: Path) -> None:
    accents = unicodedata.normalize("NFD", "Größe.PNG")
    path = touch(tmp_path / "Val" / accents)
    found = ImageFolder(tmp_path).find("val/größe.png")
    assert (found.path, found.other_name) == (path, f"Val/{accents}")
    touch(tmp_path / "Val" / "GRÖSSE.png")
    assert ImageFolder(tmp_path).find("val/größe.png").path == tmp_path / "val" / "größe.png"  # two: neither
    exact = touch(tmp_path / "val" / "größe.png")
    assert ImageFolder(tmp_path).find("val/größe.png").path == exact


def test_names_in_another_case_are_reported_once(coco_folder: CocoFolder) -> None:
    for entry in coco_folder.document["images"]:
        entry["file_name"] = entry["file_name"].upper()
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    (finding,) = report.findings
    assert report.passed
    assert "'a.png' in the folder" in finding.message
    assert "2 more" in finding.message


def test_two_names_that_only_case_tells_apart_are_not_one_file(coco_folder: CocoFolder) -> None:
    coco_folder.document["images"][1]["file_name"] = "A.png"
    coco_folder.write()
    (finding,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (finding.severity, finding.where) == ("error", "image 9")
    assert "image 7 is that file" in finding.message
    Image.new("RGB", (WIDTH, HEIGHT)).save(coco_folder.images / "A.png")
    assert not check_coco(coco_folder.annotations, coco_folder.images).findings


def test_windows_names_load_and_keep_the_digest_of_their_file(coco_folder: CocoFolder) -> None:
    (coco_folder.images / "sub").mkdir()
    for entry in coco_folder.document["images"]:
        name = entry["file_name"]
        (coco_folder.images / name).rename(coco_folder.images / "sub" / name)
        entry["file_name"] = f"sub\\{name}"
    coco_folder.write()
    dataset = load_coco(coco_folder.annotations, coco_folder.images, decode_images=True)
    assert [image.path for image in dataset.images] == [
        coco_folder.images / "sub" / f"{name}.png" for name in ("a", "b", "empty")
    ]
    assert dataset.images[0].file_name == "sub\\a.png"


def test_a_link_out_of_the_folder_is_a_finding_of_its_image(coco_folder: CocoFolder) -> None:
    (coco_folder.images / "a.png").rename(coco_folder.root / "a.png")
    (coco_folder.images / "a.png").symlink_to(coco_folder.root / "a.png")
    with pytest.raises(DataError, match=r"image 7: .*link"):
        load_coco(coco_folder.annotations, coco_folder.images)
