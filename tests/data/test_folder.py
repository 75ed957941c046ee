"""An image folder becomes a COCO file of images that are one object each."""

from pathlib import Path

import pytest

from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.image_folder import convert_folder
from lth_deploy.data.images import image_files
from lth_deploy.errors import DataError
from tests.image_folders import COLORS, draw_folder


def test_every_picture_is_one_object_of_its_folders_class(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "train", 2)
    dataset = load_coco(tmp_path / "train.json", convert_folder(root, tmp_path / "train.json"))
    assert dataset.class_names == tuple(sorted(COLORS))
    assert len(dataset.images) == 2 * len(COLORS)
    for record in dataset.images:
        (only,) = dataset.annotations[record.id]
        assert dataset.class_names[dataset.labels[only.category_id] - 1] == record.path.parent.name
        assert only.bbox == (0, 0, record.width, record.height)


def test_pictures_may_lie_deeper_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "train", 1)
    deeper = root / "red" / "deeper"
    deeper.mkdir()
    (root / "red" / "0.png").rename(deeper / "0.png")
    (root / "red" / "notes.txt").write_text("no picture")
    dataset = load_coco(tmp_path / "t.json", convert_folder(root, tmp_path / "t.json"))
    assert {record.file_name for record in dataset.images} == {"blue/0.png", "green/0.png", "red/deeper/0.png"}


def test_what_macos_adds_is_no_class_and_no_picture(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "train", 1)
    for name in ("__MACOSX/red/._0.png", "red/._0.png", ".cache/0.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    dataset = load_coco(tmp_path / "t.json", convert_folder(root, tmp_path / "t.json"))
    assert dataset.class_names == tuple(sorted(COLORS))
    assert len(dataset.images) == len(COLORS)
    assert image_files(root / "red") == [root / "red" / "0.png"]


def test_what_is_no_image_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image folder; it must hold one folder a class"):
        convert_folder(tmp_path / "missing", tmp_path / "t.json")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="class has no images"):
        convert_folder(tmp_path / "empty", tmp_path / "t.json")
    (tmp_path / "empty" / "class" / "a.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"a\.png: no image that can be read"):
        convert_folder(tmp_path / "empty", tmp_path / "t.json")
