import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.findings import KEPT_PER_SEVERITY
from lth_deploy.errors import DataError
from tests.data.sound_coco import HEIGHT, WIDTH, CocoFolder

Change = Callable[[dict[str, Any]], Any]


def set_in(kind: str, position: int, **values: Any) -> Change:
    return lambda document: document[kind][position].update(values)


def drop_in(kind: str, position: int, key: str) -> Change:
    return lambda document: document[kind][position].pop(key)


ERRORS: dict[str, tuple[Change, str, str]] = {
    "duplicate annotation id": (set_in("annotations", 1, id=1), "annotation 1", "used before"),
    "text as annotation id": (set_in("annotations", 1, id="b"), "annotation 'b'", "whole number"),
    "fraction as annotation id": (set_in("annotations", 1, id=2.5), "annotation 2.5", "whole number"),
    "true as annotation id": (set_in("annotations", 1, id=True), "annotation True", "whole number"),
    "negative annotation id": (set_in("annotations", 1, id=-4), "annotation -4", "whole number"),
    "no annotation id": (drop_in("annotations", 1, "id"), "annotations[1]", "whole number"),
    "annotation that is text": (lambda d: d["annotations"].append("x"), "annotations[3]", "object"),
    "unknown category": (set_in("annotations", 0, category_id=4), "annotation 1", "category_id 4"),
    "unknown image": (set_in("annotations", 0, image_id=8), "annotation 1", "image_id 8"),
    "no box": (drop_in("annotations", 0, "bbox"), "annotation 1", "bbox"),
    "box of three": (set_in("annotations", 0, bbox=[1, 2, 3]), "annotation 1", "bbox"),
    "box of NaN": (set_in("annotations", 0, bbox=[1, 2, float("nan"), 3]), "annotation 1", "bbox"),
    "box of infinity": (set_in("annotations", 0, bbox=[1, 2, float("inf"), 3]), "annotation 1", "bbox"),
    "box of a huge number": (set_in("annotations", 0, bbox=[1, 2, 10**400, 3]), "annotation 1", "bbox"),
    "box of text": (set_in("annotations", 0, bbox=["left", 2, 3, 4]), "annotation 1", "bbox holds 'left'"),
    "box with a decimal comma": (set_in("annotations", 0, bbox=["1,5", 2, 3, 4]), "annotation 1", "bbox holds '1,5'"),
    "zero width": (set_in("annotations", 0, bbox=[4, 6, 0, 10]), "annotation 1", "degenerate box"),
    "negative height": (set_in("annotations", 0, bbox=[4, 6, 5, -1]), "annotation 1", "degenerate box"),
    "box outside": (set_in("annotations", 0, bbox=[WIDTH, 6, 5, 5]), "annotation 1", "outside"),
    "iscrowd 2": (set_in("annotations", 0, iscrowd=2), "annotation 1", "iscrowd"),
    "negative area": (set_in("annotations", 0, area=-1), "annotation 1", "area"),
    "area of NaN": (set_in("annotations", 0, area=float("nan")), "annotation 1", "area"),
    "polygon of two points": (
        set_in("annotations", 0, segmentation=[[1, 1, 2, 2]]),
        "annotation 1",
        "3 or more points",
    ),
    "polygon of odd length": (
        set_in("annotations", 0, segmentation=[[1, 1, 2, 2, 3, 3, 4]]),
        "annotation 1",
        "3 or more points",
    ),
    "polygon far outside": (
        set_in("annotations", 0, segmentation=[[0, 0, 900000, 0, 900000, 9]]),
        "annotation 1",
        "outside",
    ),
    "run lengths too long": (
        set_in("annotations", 2, segmentation={"size": [HEIGHT, WIDTH], "counts": [0, 20, 10**9]}),
        "annotation 5",
        "pixels",
    ),
    "run lengths of another size": (
        set_in("annotations", 2, segmentation={"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}),
        "annotation 5",
        "size",
    ),
    "negative run": (
        set_in("annotations", 2, segmentation={"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}),
        "annotation 5",
        "counts",
    ),
    "segmentation that is text": (set_in("annotations", 0, segmentation="x"), "annotation 1", "segmentation"),
    "too few keypoints": (set_in("annotations", 0, keypoints=[1, 2, 2]), "annotation 1", "9 numbers"),
    "keypoints without names": (set_in("annotations", 1, keypoints=[1, 2, 2]), "annotation 2", "keypoints"),
    "visibility 3": (
        set_in("annotations", 0, keypoints=[1, 1, 3, 0, 0, 0, 0, 0, 0]),
        "annotation 1",
        "visibility",
    ),
    "duplicate image id": (set_in("images", 1, id=7), "image 7", "used before"),
    "no image width": (drop_in("images", 0, "width"), "image 7", "width"),
    "image height 0": (set_in("images", 0, height=0), "image 7", "height"),
    "no file name": (drop_in("images", 0, "file_name"), "image 7", "file_name"),
    "file name that climbs": (set_in("images", 0, file_name="../a.png"), "image 7", "inside"),
    "absolute file name": (set_in("images", 0, file_name="/etc/passwd"), "image 7", "inside"),
    "missing image": (set_in("images", 0, file_name="gone.png"), "image 7", "no such image"),
    "duplicate category id": (set_in("categories", 1, id=3), "category 3", "used before"),
    "duplicate category name": (set_in("categories", 1, name="cell"), "category 90", "category 3"),
    "category name of two lines": (set_in("categories", 1, name="dust\r"), "category 90", "text of one line"),
    "category without name": (drop_in("categories", 1, "name"), "category 90", "name"),
    "skeleton out of range": (set_in("categories", 0, skeleton=[[1, 4]]), "category 3", "skeleton"),
    "two sets of keypoints": (set_in("categories", 1, keypoints=["x"]), "category 90", "differ"),
    "no categories": (lambda d: d.pop("categories"), "categories", "list"),
    "no images": (lambda d: d.update(images=[]), "images", "empty"),
    "annotations as object": (lambda d: d.update(annotations={}), "annotations", "list"),
}


def test_a_sound_data_set_has_no_findings(coco_folder: CocoFolder) -> None:
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert report.passed
    assert report.findings == []
    counted = {
        "images": 3,
        "annotations": 3,
        "categories": 2,
        "crowd regions": 1,
        "images without objects": 1,
    }
    assert {key: report.counts[key] for key in counted} == counted


@pytest.mark.parametrize("name", ERRORS)
def test_every_fault_is_found_with_file_and_id_and_refused_by_the_loader(name: str, coco_folder: CocoFolder) -> None:
    change, where, message = ERRORS[name]
    change(coco_folder.document)
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    found = [f for f in report.of("error") if f.where == where and message in f.message]
    assert len(found) == 1, report.findings
    assert found[0].file in (str(coco_folder.annotations), str(coco_folder.images / "gone.png"))
    with pytest.raises(DataError, match="fault") as caught:
        load_coco(coco_folder.annotations, coco_folder.images)
    assert str(found[0]) in str(caught.value)


def test_one_faulty_category_or_image_is_reported_once_and_not_once_an_object(coco_folder: CocoFolder) -> None:
    document = coco_folder.document
    document["annotations"] += [{**document["annotations"][1], "id": 100 + i, "bbox": [i, 2, 8, 8]} for i in range(9)]
    document["categories"][1].pop("name")
    coco_folder.write()
    (category,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (category.where, "name must be text" in category.message) == ("category 90", True)
    document["categories"][1]["name"] = "dust"
    document["images"][1]["width"] = 0
    coco_folder.write()
    (image,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (image.where, "width" in image.message) == ("image 9", True)


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("category_id", [4, 5, 4, 4], "category_id 4 is not among the categories; the same holds for 3 more"),
        ("image_id", [8, 8, 12, 8], "image_id 8 is not among the images; the same holds for 3 more"),
        ("image_id", ["a.png", "b.png", None, True], "found 'a.png'; the same holds for 3 more"),
    ],
)
def test_references_to_nothing_are_one_finding_with_a_count(
    key: str, values: list[Any], message: str, coco_folder: CocoFolder
) -> None:
    sound = coco_folder.document["annotations"][1]
    faulty = [{**sound, "id": 20 + i, key: value} for i, value in enumerate(values)]
    coco_folder.document["annotations"] += faulty
    coco_folder.write()
    (finding,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (finding.severity, finding.where) == ("error", "annotation 20")
    assert message in finding.message


def as_text(value: Any) -> Any:
    """Every number but those of masks as text with spaces, as spreadsheets and XML converters write them."""
    if isinstance(value, dict):
        return {key: value[key] if key in ("segmentation", "skeleton") else as_text(value[key]) for key in value}
    if isinstance(value, list):
        return [as_text(one) for one in value]
    return f" {value}.0 " if type(value) is int else value


def test_numbers_as_text_are_the_same_data_set(coco_folder: CocoFolder) -> None:
    expected = load_coco(coco_folder.annotations, coco_folder.images)
    coco_folder.document = as_text(coco_folder.document)
    coco_folder.document["annotations"][0]["segmentation"] = [["4", "6", "24", "6", "24.0", "16", "4", " 16 "]]
    coco_folder.write()
    found = load_coco(coco_folder.annotations, coco_folder.images)
    assert (found.images, found.categories, found.annotations) == (
        expected.images,
        expected.categories,
        expected.annotations,
    )
    assert found.digest() == expected.digest()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert report.passed
    assert [f.where for f in report.findings] == ["category 3", "image 7", "image 7", "annotation ' 1.0 '"]
    assert all("read as" in finding.message for finding in report.findings)


@pytest.mark.parametrize("text", ["1,5", "1_5", "0x1", "nan", "1e400", "\u0661", "", "one", "1 5", "9" * 5000])
def test_text_that_could_mean_something_else_is_no_number(text: str, coco_folder: CocoFolder) -> None:
    for change in (
        set_in("annotations", 0, bbox=[1, text, 3, 4]),
        set_in("annotations", 0, area=text),
        set_in("annotations", 0, id=text),
        set_in("images", 2, width=text),
        set_in("annotations", 0, segmentation=[[1, 1, text, 2, 2, 2]]),
    ):
        before = json.dumps(coco_folder.document)
        change(coco_folder.document)
        coco_folder.write()
        (error,) = check_coco(coco_folder.annotations, coco_folder.images).of("error")
        assert "number" in error.message
        assert len(str(error)) < 400
        coco_folder.document = json.loads(before)


def test_identical_annotations_are_noticed_and_those_that_differ_are_not(coco_folder: CocoFolder) -> None:
    annotations = coco_folder.document["annotations"]
    twin = {**annotations[1], "id": 30}
    annotations += [
        twin,
        {**twin, "id": 31},
        {**twin, "id": 32, "bbox": [1, 2, 8, 7]},
        {**twin, "id": 33, "category_id": 3},
    ]
    annotations.append({**twin, "id": 34, "segmentation": [[1, 2, 9, 2, 9, 10]]})
    coco_folder.write()
    (notice,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert (notice.severity, notice.where) == ("notice", "annotation 30")
    assert "identical to annotation 2" in notice.message
    assert "1 more" in notice.message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_fault(encoding: str, coco_folder: CocoFolder) -> None:
    expected = load_coco(coco_folder.annotations, coco_folder.images)
    coco_folder.annotations.write_text(json.dumps(coco_folder.document), encoding=encoding)
    assert load_coco(coco_folder.annotations, coco_folder.images).digest() == expected.digest()


def test_control_characters_of_a_file_do_not_reach_the_terminal(coco_folder: CocoFolder) -> None:
    name = "\x1b[2J\n\ud800.png"
    coco_folder.document["images"][0]["file_name"] = "\x1b[2J.png"
    coco_folder.document["categories"][1]["name"] = name
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert [finding.where for finding in report.findings] == ["category 90", "image 7"]
    assert all(str(finding).isprintable() for finding in report.findings)


NOTICES: dict[str, tuple[Change, str, str]] = {
    "no area": (drop_in("annotations", 0, "area"), "annotation 1", "filled in with 200"),
    "no iscrowd": (drop_in("annotations", 0, "iscrowd"), "annotation 1", "filled in with 0"),
    "annotation id 0": (set_in("annotations", 0, id=0), "annotation 0", "renumbered"),
    "category id 0": (set_in("categories", 1, id=0), "category 0", "background"),
    "box that sticks out": (
        set_in("annotations", 0, bbox=[30, 6, 20, 10]),
        "annotation 1",
        "10 pixels outside",
    ),
    "wrong number of keypoints": (set_in("annotations", 0, num_keypoints=3), "annotation 1", "set to the 2"),
    "one file twice": (set_in("images", 1, file_name="a.png"), "image 9", "same file as image 7"),
}


@pytest.mark.parametrize("name", NOTICES)
def test_what_is_filled_in_is_said(name: str, coco_folder: CocoFolder) -> None:
    change, where, message = NOTICES[name]
    change(coco_folder.document)
    if name == "category id 0":
        coco_folder.document["annotations"][1]["category_id"] = 0
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert [(f.where, message in f.message) for f in report.findings] == [(where, True)]
    assert report.passed
    load_coco(coco_folder.annotations, coco_folder.images)


@pytest.mark.parametrize("decode", [True, False])
def test_only_decoding_finds_a_truncated_image(decode: bool, coco_folder: CocoFolder) -> None:
    path = coco_folder.images / "a.png"
    path.write_bytes(path.read_bytes()[:-400])
    errors = check_coco(coco_folder.annotations, coco_folder.images, decode_images=decode).of("error")
    assert [(e.file, e.where) for e in errors] == ([(str(path), "image 7")] if decode else [])


@pytest.mark.parametrize("decode", [True, False])
def test_an_image_of_another_size_is_found(decode: bool, coco_folder: CocoFolder) -> None:
    Image.new("RGB", (HEIGHT, WIDTH)).save(coco_folder.images / "a.png")
    (error,) = check_coco(coco_folder.annotations, coco_folder.images, decode_images=decode).of("error")
    assert f"is {HEIGHT}x{WIDTH} pixels, the annotations say {WIDTH}x{HEIGHT}" in error.message
    assert "EXIF" not in error.message


def test_all_missing_images_of_a_missing_folder_are_one_fault(coco_folder: CocoFolder) -> None:
    report = check_coco(coco_folder.annotations, coco_folder.root / "nowhere")
    assert [(f.file, f.where) for f in report.findings] == [(str(coco_folder.root / "nowhere"), "folder")]


def test_faults_of_one_annotation_are_all_found(coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"][0].update(bbox=[1, 2, 3], category_id=4, iscrowd=7)
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert [f.where for f in report.findings] == ["annotation 1"] * 3


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"images": ' + "9" * 5000 + "}", "[" * 100000])
def test_what_is_no_coco_file_is_one_fault(text: str, coco_folder: CocoFolder) -> None:
    coco_folder.annotations.write_text(text)
    (error,) = check_coco(coco_folder.annotations, coco_folder.images).findings
    assert str(coco_folder.annotations) in str(error)
    with pytest.raises(DataError):
        load_coco(coco_folder.annotations, coco_folder.images)


def test_a_million_faults_are_counted_but_not_kept(coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"] = [{"id": i} for i in range(1, KEPT_PER_SEVERITY + 2)]
    coco_folder.write()
    report = check_coco(coco_folder.annotations, coco_folder.images)
    assert len(report.of("error")) == KEPT_PER_SEVERITY
    assert report.counts["errors"] > KEPT_PER_SEVERITY
    with pytest.raises(DataError) as caught:
        load_coco(coco_folder.annotations, coco_folder.images)
    assert str(caught.value).count("annotation ") == 20
    assert str(report.counts["errors"]) in str(caught.value)


def test_degenerate_boxes_can_be_left_out_instead(coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"][0]["bbox"] = [4, 6, 3, 0]
    coco_folder.write()
    dataset = load_coco(coco_folder.annotations, coco_folder.images, drop_degenerate=True)
    assert dataset.annotations[7] == ()
    report = check_coco(coco_folder.annotations, coco_folder.images, drop_degenerate=True)
    assert [f.where for f in report.of("notice")] == ["annotation 1"]


def test_a_shrunk_file_never_crashes_the_check(coco_folder: CocoFolder) -> None:
    text = json.dumps(coco_folder.document)
    for length in range(0, len(text), 37):
        coco_folder.annotations.write_text(text[:length])
        assert not check_coco(coco_folder.annotations, coco_folder.images).passed
