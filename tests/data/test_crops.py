"""Objects cut out as an image folder: the right pixels, the right classes, and nothing overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lth_deploy.data import crops
from lth_deploy.data.crops import CropsPlan, cut_objects
from lth_deploy.data.image_folder import convert_folder
from lth_deploy.data.images import read_image
from lth_deploy.errors import DataError, UsageError

WIDTH, HEIGHT = 40, 30
BOXES = [("cell", [4, 6, 20, 10]), ("dust", [1, 2, 8, 8]), ("cell", [30, 20, 10, 10]), ("cell", [0, 0, 3, 3])]


def save(folder: Path, names: tuple[str, ...] = ("cell", "dust"), crowd: bool = False) -> tuple[Path, Path]:
    """One image whose every pixel tells its place, with objects of two classes."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    Image.fromarray(np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)).save(images / "a.png")
    objects = [
        {
            "id": number,
            "image_id": 1,
            "category_id": 1 + ("cell", "dust").index(name),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(crowd and name == "dust"),
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 20, HEIGHT * WIDTH - 20]} if crowd else [],
        }
        for number, (name, box) in enumerate(BOXES, start=1)
    ]
    for one in objects:
        if not one["iscrowd"]:
            del one["segmentation"]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": objects,
    }
    (folder / "a.json").write_text(json.dumps(document))
    return folder / "a.json", images


def test_every_object_is_cut_with_its_margin_as_far_as_the_picture_goes(tmp_path: Path) -> None:
    counts = cut_objects(*save(tmp_path), tmp_path / "out", CropsPlan(pad=0.5, smallest=8))
    assert counts == {"cell": 2, "dust": 1}
    first = read_image(tmp_path / "out" / "cell" / "000001.png")
    # 20 x 10 at (4, 6), with 10 and 5 pixels more on each side: from column -6 on, which the image has not.
    assert first.shape[:2] == (20, 34)
    assert tuple(first[0, 0]) == (1, 0, 0)
    assert tuple(first[-1, -1]) == (20, 33, 0)
    second = read_image(tmp_path / "out" / "cell" / "000002.png")
    assert tuple(second[0, 0]) == (15, 25, 0)
    assert tuple(second[-1, -1]) == (HEIGHT - 1, WIDTH - 1, 0)
    dust = read_image(tmp_path / "out" / "dust" / "000001.png")
    assert tuple(dust[0, 0]) == (0, 0, 0)


def test_crops_are_an_image_folder_of_the_classes(tmp_path: Path) -> None:
    cut_objects(*save(tmp_path), tmp_path / "out")
    convert_folder(tmp_path / "out", tmp_path / "folder.json")
    document = json.loads((tmp_path / "folder.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["cell", "dust"]
    assert len(document["images"]) == 3


def test_at_most_so_many_a_class(tmp_path: Path) -> None:
    assert cut_objects(*save(tmp_path), tmp_path / "out", CropsPlan(most=1, smallest=3)) == {"cell": 1, "dust": 1}
    assert cut_objects(*save(tmp_path), tmp_path / "all", CropsPlan(most=9, smallest=3)) == {"cell": 3, "dust": 1}


def test_nothing_is_cut_twice_but_what_a_kill_left_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = save(tmp_path), tmp_path / "out"
    counts = cut_objects(*source, out)
    with monkeypatch.context() as patch:
        patch.setattr(crops, "_png", lambda pixels: pytest.fail("cut again"))
        assert cut_objects(*source, out) == counts
        patch.setattr(crops, "_png", lambda pixels: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cut_objects(*source, out, CropsPlan(pad=0.1))
    assert cut_objects(*source, out, CropsPlan(pad=0.1)) == counts
    assert len(list(out.rglob("*.png"))) == 3


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UsageError, match="what it holds are no crops"):
        cut_objects(*save(tmp_path), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["../cell", "a/b", "..", "a\\b"])
def test_a_class_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a folder; rename the class"):
        cut_objects(*save(tmp_path, names=(name, "dust")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_without_objects_that_are_large_enough_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="class 'dust' has no object with sides of 9 pixels or more"):
        cut_objects(*save(tmp_path), tmp_path / "out", CropsPlan(smallest=9))
    with pytest.raises(DataError, match="class 'dust' has no object"):
        cut_objects(*save(tmp_path, crowd=True), tmp_path / "out")


@pytest.mark.parametrize("options", [{"pad": -0.1}, {"smallest": 0}, {"most": -1}])
def test_odd_plans_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="pad must lie in"):
        CropsPlan(**options)  # type: ignore[arg-type]
