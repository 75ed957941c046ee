import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from lth_deploy.data.coco.load import CocoDataset, load_coco
from tests.data.sound_coco import CocoFolder


@pytest.fixture
def dataset(coco_folder: CocoFolder) -> CocoDataset:
    return load_coco(coco_folder.annotations, coco_folder.images, decode_images=True)


def test_labels_count_from_one_without_gaps(dataset: CocoDataset) -> None:
    assert dataset.labels == {3: 1, 90: 2}
    assert [dataset.category_ids[label - 1] for label in dataset.labels.values()] == list(dataset.labels)
    assert dataset.class_names == ("cell", "dust")
    assert dataset.keypoint_names == ("top", "left_end", "right_end")


def test_every_image_has_an_entry_even_without_objects(dataset: CocoDataset) -> None:
    assert {image.id: len(dataset.annotations[image.id]) for image in dataset.images} == {7: 1, 9: 2, 11: 0}


def test_ground_truth_suits_pycocotools(coco_folder: CocoFolder) -> None:
    coco_folder.document["annotations"][0]["id"] = 0
    coco_folder.document["annotations"][1].pop("area")
    coco_folder.write()
    document = load_coco(coco_folder.annotations, coco_folder.images).ground_truth()
    assert [row["id"] for row in document["annotations"]] == [1, 2, 3]
    assert all({"area", "iscrowd", "bbox"} <= set(row) for row in document["annotations"])
    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    assert [coco.annToMask(row).sum() > 0 for row in coco.loadAnns(coco.getAnnIds())] == [True] * 3


def test_ground_truth_loads_again_as_the_same_data_set(coco_folder: CocoFolder, dataset: CocoDataset) -> None:
    coco_folder.document = dataset.ground_truth()
    coco_folder.write()
    assert load_coco(coco_folder.annotations, coco_folder.images).digest() == dataset.digest()


def test_digest_follows_content_not_place(coco_folder: CocoFolder, dataset: CocoDataset, tmp_path: Path) -> None:
    shutil.copytree(coco_folder.images, tmp_path / "elsewhere")
    moved = load_coco(coco_folder.annotations, tmp_path / "elsewhere")
    assert moved.digest() == dataset.digest()
    coco_folder.document["annotations"][0]["bbox"][0] += 0.5
    coco_folder.write()
    assert load_coco(coco_folder.annotations, coco_folder.images).digest() != dataset.digest()


def test_subset_and_without_empty_take_annotations_along(dataset: CocoDataset) -> None:
    first = dataset.subset(1)
    assert [image.id for image in first.images] == [7]
    assert set(first.annotations) == {7}
    assert first.labels == dataset.labels
    assert [image.id for image in dataset.without_empty().images] == [7, 9]


def test_masks_need_a_segmentation_for_every_object(coco_folder: CocoFolder, dataset: CocoDataset) -> None:
    assert dataset.has_masks
    coco_folder.document["annotations"][0].pop("segmentation")
    coco_folder.write()
    assert not load_coco(coco_folder.annotations, coco_folder.images).has_masks


def test_notices_are_logged(coco_folder: CocoFolder, caplog: pytest.LogCaptureFixture) -> None:
    for annotation in coco_folder.document["annotations"]:
        annotation.pop("area")
        annotation.pop("iscrowd")
    coco_folder.write()
    load_coco(coco_folder.annotations, coco_folder.images)
    assert "annotation 1: area is missing" in caplog.text
    assert "1 more notices" in caplog.text


def test_all_but_the_loader_work_without_torch() -> None:
    modules = ", ".join(
        f"lth_deploy.data.{name}" for name in ("coco.check", "coco.load", "voc.convert", "shapes.generate", "images")
    )
    code = f"import sys; import {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_real_photos_load_without_a_fault(shared_data: Path) -> None:
    folder = shared_data / "data" / "bccd"
    sizes = {}
    for name in ("train", "val", "test"):
        split = load_coco(folder / f"annotations/{name}.json", folder / "images")
        sizes[name] = len(split.images), sum(len(group) for group in split.annotations.values())
        assert split.class_names == ("WBC", "RBC", "Platelets")
    assert sizes == {"train": (205, 2805), "val": (87, 1138), "test": (72, 945)}


def test_real_coco_annotations_load_without_a_fault(shared_data: Path) -> None:
    folder = shared_data / "data" / "coco128"
    dataset = load_coco(folder / "annotations/instances.json", folder / "images", decode_images=True)
    assert len(dataset.images) == 128
    assert max(dataset.category_ids) == 90
    assert len(dataset.class_names) == 80
    assert sum(a.iscrowd for group in dataset.annotations.values() for a in group) == 10
    assert len(dataset.images) - len(dataset.without_empty().images) == 2
