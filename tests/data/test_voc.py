from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.voc.convert import ALL, convert_voc
from lth_deploy.data.voc.xml import read_voc_xml
from lth_deploy.detections import Detections
from lth_deploy.errors import DataError
from lth_deploy.evaluation.voc_ap import voc_average_precision

OBJECT = (
    "<object><name>{0}</name><difficult>{5}</difficult><bndbox><xmin>{1}</xmin><ymin>{2}</ymin>"
    "<xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)


def write_xml(path: Path, *objects: tuple[object, ...], size: str = "40 30", name: str = "") -> None:
    width, height = size.split()
    body = "".join(OBJECT.format(*object_) for object_ in objects)
    path.write_text(
        f"<annotation><filename>{name or path.stem}.png</filename><size><width>{width}</width>"
        f"<height>{height}</height></size>{body}</annotation>"
    )


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Three images; `two` has a difficult object, `three` none at all; split train is the first two."""
    root = tmp_path / "VOC"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem in ("one", "two", "three"):
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{stem}.png")
    write_xml(root / "Annotations/one.xml", ("dog", 1, 1, 40, 30, 0))
    write_xml(root / "Annotations/two.xml", ("cat", 11, 6, 20, 15, 0), ("dog", 2, 2, 4, 4, 1))
    write_xml(root / "Annotations/three.xml")
    (root / "ImageSets/Main/train.txt").write_text("one\ntwo\n")
    (root / "ImageSets/Main/val.txt").write_text("three\n")
    (root / "ImageSets/Main/cat_train.txt").write_text("one -1\ntwo  1\n")
    return root


def test_a_split_becomes_a_sound_coco_file(voc: Path, tmp_path: Path) -> None:
    result = convert_voc(voc, "train", tmp_path / "train.json")
    dataset = load_coco(result.annotations, result.images, decode_images=True)
    assert dataset.class_names == ("cat", "dog") == result.classes
    assert [image.file_name for image in dataset.images] == ["one.png", "two.png"]
    first = dataset.annotations[1][0]
    # 1..40 and 1..30, both ends included, is the whole image.
    assert first.bbox == (0, 0, 40, 30)
    assert dataset.annotations[2][0].bbox == (10, 5, 10, 10)
    assert (result.image_count, result.object_count, result.difficult, result.first_pixel) == (2, 3, 1, 1)


def test_difficult_objects_are_neither_trained_on_nor_counted(voc: Path, tmp_path: Path) -> None:
    dataset = load_coco(convert_voc(voc, "train", tmp_path / "a.json").annotations, voc / "JPEGImages")
    assert [a.iscrowd for a in dataset.annotations[2]] == [False, True]


def test_finding_a_difficult_object_is_neither_right_nor_wrong(voc: Path, tmp_path: Path) -> None:
    dataset = load_coco(convert_voc(voc, "train", tmp_path / "a.json").annotations, voc / "JPEGImages")
    boxes = np.array([[1, 1, 4, 4], [0, 0, 40, 30]], np.float32)  # the difficult dog of `two`, the dog of `one`
    found = {
        2: Detections(boxes[:1], np.array([0.9], np.float32), np.array([2])),
        1: Detections(boxes[1:], np.array([0.8], np.float32), np.array([2])),
    }
    cat, dog = voc_average_precision(dataset.ground_truth(), found, dataset.category_ids).classes
    assert (dog.objects, dog.area, dog.eleven_points) == (1, 1.0, 1.0)
    assert (cat.objects, cat.area) == (1, 0.0)


def test_a_corner_of_zero_proves_that_pixels_count_from_zero(voc: Path, tmp_path: Path) -> None:
    write_xml(voc / "Annotations/three.xml", ("cat", 0, 4, 40, 30, 0))
    result = convert_voc(voc, "train", tmp_path / "a.json")
    assert result.first_pixel == 0
    assert load_coco(result.annotations, result.images).annotations[2][0].bbox == (11, 6, 9, 9)
    forced = convert_voc(voc, "train", tmp_path / "b.json", first_pixel=1)
    assert load_coco(forced.annotations, forced.images).annotations[2][0].bbox == (10, 5, 10, 10)


def test_all_splits_of_a_folder_have_the_same_classes(voc: Path, tmp_path: Path) -> None:
    results = [convert_voc(voc, split, tmp_path / f"{split}.json") for split in ("train", "val", ALL)]
    assert {result.classes for result in results} == {("cat", "dog")}
    assert [result.image_count for result in results] == [2, 1, 3]
    ordered = convert_voc(voc, ALL, tmp_path / "o.json", classes=("dog", "cat"))
    assert load_coco(ordered.annotations, ordered.images).class_names == ("dog", "cat")


def test_a_list_of_one_class_leaves_out_the_images_without_it(voc: Path, tmp_path: Path) -> None:
    assert convert_voc(voc, "cat_train", tmp_path / "a.json").image_count == 1


def test_conversion_is_repeatable_byte_for_byte(voc: Path, tmp_path: Path) -> None:
    first, second = (convert_voc(voc, ALL, tmp_path / f"{n}.json").annotations for n in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_images_beside_their_xml_files_are_a_data_set_too(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    write_xml(tmp_path / "x.xml", ("dog", 2, 2, 9, 9, 0), size="0 0", name="../../other")
    result = convert_voc(tmp_path, ALL, tmp_path / "out" / "a.json")
    dataset = load_coco(result.annotations, result.images, decode_images=True)
    assert (dataset.images[0].width, dataset.images[0].height) == (40, 30)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
HOSTILE = {
    "document type": (BOMB.encode(), "DOCTYPE"),
    "document type in UTF-16": (
        ('<?xml version="1.0" encoding="utf-16"?>' + BOMB).encode("utf-16"),
        "DOCTYPE",
    ),
    "foreign file": (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE"),
    "undefined entity": (b"<annotation>&b;</annotation>", "well-formed"),
    "cut": (b"<annotation><object>", "well-formed"),
    "empty": (b"", "well-formed"),
    "binary": (bytes(range(256)), "well-formed"),
    "unknown encoding": (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "well-formed"),
    "another root": (b"<html/>", "<html>"),
    "deep": (b"<annotation>" + b"<a>" * 40 + b"</a>" * 40 + b"</annotation>", "deep"),
    "nameless object": (b"<annotation><object/></annotation>", "object 1"),
    "no corners": (b"<annotation><object><name>a</name></object></annotation>", "xmin"),
    "corner of NaN": (f"<annotation>{OBJECT.format('a', 1, 2, 'nan', 4, 0)}</annotation>".encode(), "xmax"),
    "corner of text": (f"<annotation>{OBJECT.format('a', 1, 'x', 3, 4, 0)}</annotation>".encode(), "ymin"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "bad.xml"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_voc_xml(path)
    assert str(path) in str(caught.value)


def test_what_is_missing_is_named(voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    with pytest.raises(DataError, match="there are: cat_train, train, val"):
        convert_voc(voc, "test", out)
    with pytest.raises(DataError, match="'dog', not one of: cat"):
        convert_voc(voc, "train", out, classes=["cat"])
    (voc / "JPEGImages/two.png").unlink()
    with pytest.raises(DataError, match="no image 'two'"):
        convert_voc(voc, "train", out)
    (voc / "Annotations/one.xml").unlink()
    with pytest.raises(DataError, match=r"train.txt lists 'one', .*one\.xml"):
        convert_voc(voc, "train", out)
    with pytest.raises(DataError, match="Annotations"):
        convert_voc(tmp_path / "nowhere", "train", out)
    assert not out.exists()


def test_a_box_outside_its_image_passes_conversion_and_fails_the_check(voc: Path, tmp_path: Path) -> None:
    write_xml(voc / "Annotations/one.xml", ("dog", 50, 50, 60, 60, 0))
    result = convert_voc(voc, "train", tmp_path / "a.json")
    with pytest.raises(DataError, match="outside"):
        load_coco(result.annotations, result.images)
