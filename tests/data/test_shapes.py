import json
from pathlib import Path

import numpy as np
import pytest

from lth_deploy import storage
from lth_deploy.data.coco.check import check_coco
from lth_deploy.data.coco.load import CocoDataset, load_coco
from lth_deploy.data.images import read_image
from lth_deploy.data.segmentation import render
from lth_deploy.data.shapes.drawing import KEYPOINTS, OUTLINES, Figure
from lth_deploy.data.shapes.generate import CLASSES, generate_shapes
from lth_deploy.errors import StorageError, UsageError
from lth_deploy.workflow.data import check_data, data_from_voc, draw_shapes

SIZE = (96, 64)
COUNT = 24


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shapes")
    generate_shapes(out, split="train", count=COUNT, size=SIZE, seed=1)
    return out


@pytest.fixture(scope="module")
def dataset(drawn: Path) -> CocoDataset:
    return load_coco(drawn / "train.json", drawn / "train")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_drawn_passes_every_check(drawn: Path, dataset: CocoDataset) -> None:
    report = check_coco(drawn / "train.json", drawn / "train")
    assert report.findings == []
    assert len(dataset.images) == COUNT
    assert dataset.class_names == CLASSES
    assert dataset.keypoint_names == KEYPOINTS
    assert dataset.has_masks
    assert {a.category_id for group in dataset.annotations.values() for a in group} == {1, 2, 3}
    assert all(1 <= len(group) <= 4 for group in dataset.annotations.values())


def test_equal_parameters_give_equal_bytes(drawn: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path, split="train", count=COUNT, size=SIZE, seed=1)
    assert contents(tmp_path) == contents(drawn)


@pytest.mark.parametrize("change", [{"seed": 2}, {"split": "val"}, {"classes": ("square", "circle")}])
def test_seed_split_and_classes_each_change_the_images(change: dict[str, object], drawn: Path, tmp_path: Path) -> None:
    options = {"split": "train", "count": 2, "size": SIZE, "seed": 1, **change}
    annotations = generate_shapes(tmp_path, **options)  # type: ignore[arg-type]
    images = sorted((tmp_path / annotations.stem).iterdir())
    before = {p.read_bytes() for p in (drawn / "train").iterdir()}
    assert len(images) == 2
    assert not before & {p.read_bytes() for p in images}


def test_a_longer_split_begins_with_the_shorter_one(drawn: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path, split="train", count=3, size=SIZE, seed=1)
    for path in (tmp_path / "train").iterdir():
        assert path.read_bytes() == (drawn / "train" / path.name).read_bytes()


def test_the_same_plan_is_not_drawn_twice_and_another_is(tmp_path: Path) -> None:
    annotations = generate_shapes(tmp_path, split="a", count=2, size=SIZE)
    image = tmp_path / "a" / "000001.jpg"
    times = [p.stat().st_mtime_ns for p in (annotations, image)]
    generate_shapes(tmp_path, split="a", count=2, size=SIZE)
    assert [p.stat().st_mtime_ns for p in (annotations, image)] == times
    pixels = image.read_bytes()
    generate_shapes(tmp_path, split="a", count=2, size=SIZE, seed=9)
    assert image.read_bytes() != pixels


@pytest.mark.parametrize("damage", ["image gone", "annotations gone", "annotations cut"])
def test_an_interrupted_set_is_drawn_again(damage: str, tmp_path: Path) -> None:
    annotations = generate_shapes(tmp_path, split="a", count=2, size=SIZE)
    whole = contents(tmp_path)
    if damage == "image gone":
        (tmp_path / "a/000002.jpg").unlink()
    elif damage == "annotations gone":
        annotations.unlink()
    else:
        annotations.write_bytes(annotations.read_bytes()[:100])
    generate_shapes(tmp_path, split="a", count=2, size=SIZE)
    assert contents(tmp_path) == whole


def test_no_annotations_lie_beside_images_of_another_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotations = generate_shapes(tmp_path, split="a", count=2, size=SIZE)

    def fill_the_disk(path: Path, data: bytes) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(storage, "write_bytes", fill_the_disk)
    with pytest.raises(StorageError):
        generate_shapes(tmp_path, split="a", count=2, size=SIZE, seed=5)
    assert not annotations.exists()


def test_boxes_fit_their_masks(dataset: CocoDataset) -> None:
    for group in dataset.annotations.values():
        for annotation in group:
            assert annotation.segmentation is not None
            mask = render(annotation.segmentation, SIZE, SIZE)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y, width, height = annotation.bbox
            found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            # A sharp corner of a polygon may cover less than half of its last pixels.
            assert np.abs(found - [x, y, x + width, y + height]).max() <= 3
            assert abs(mask.sum() - annotation.area) <= 0.1 * annotation.area
            assert x >= 0 <= y
            assert x + width <= SIZE[0]
            assert y + height <= SIZE[1]


def test_objects_are_large_enough_to_learn_from_few_images(dataset: CocoDataset) -> None:
    sides = [max(a.bbox[2:]) for group in dataset.annotations.values() for a in group]
    assert min(sides) >= 0.12 * min(SIZE)
    assert max(sides) <= 0.46 * min(SIZE)


def test_objects_stand_out_from_the_background(dataset: CocoDataset) -> None:
    differences = []
    for image in dataset.images:
        pixels = read_image(image.path).astype(float)
        masks = [render(a.segmentation or [], SIZE, SIZE).astype(bool) for a in dataset.annotations[image.id]]
        rest = ~np.any(masks, axis=0)
        differences += [np.abs(pixels[m].mean(0) - pixels[rest].mean(0)).max() for m in masks]
    assert np.median(differences) > 50


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_keypoints_lie_on_the_outline_straight_from_the_center(name: str, angle: float) -> None:
    figure = Figure(name, (50.0, 40.0), 20.0, angle, (0.0, 0.0, 0.0))
    top, right, bottom, left = points = figure.keypoints()
    np.testing.assert_allclose(figure.distance(points), 0.0, atol=1e-9)
    np.testing.assert_allclose([top[0], bottom[0], right[1], left[1]], [50, 50, 40, 40])
    assert top[1] < 40 < bottom[1]
    assert left[0] < 50 < right[0]


@pytest.mark.parametrize("name", OUTLINES)
def test_a_mirrored_figure_has_mirrored_keypoints(name: str) -> None:
    # All outlines are symmetric about the x axis, so a turn by pi - angle is the mirror image.
    angle = 0.7
    points = Figure(name, (0.0, 0.0), 9.0, angle, (0.0, 0.0, 0.0)).keypoints()
    mirrored = Figure(name, (0.0, 0.0), 9.0, np.pi - angle, (0.0, 0.0, 0.0)).keypoints()
    np.testing.assert_allclose(mirrored, points[[0, 3, 2, 1]] * [-1, 1], atol=1e-9)


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_convex_centered_and_of_radius_one(name: str) -> None:
    figure = Figure(name, (0.0, 0.0), 1.0, 0.0, (0.0, 0.0, 0.0))
    assert figure.distance(np.zeros(2)) < -0.3
    np.testing.assert_allclose(figure.distance(figure.corners), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(figure.corners, axis=1).max(), 1.0, atol=1e-3)
    np.testing.assert_allclose(figure.corners.mean(axis=0), 0.0, atol=1e-9)


def test_coverage_adds_up_to_the_area() -> None:
    figure = Figure("square", (40.3, 30.7), 20.0, 0.3, (0.0, 0.0, 0.0))
    assert figure.coverage((80, 60)).sum() == pytest.approx(2 * 20.0**2, rel=0.01)


def test_hidden_parts_leave_mask_and_visibility(tmp_path: Path) -> None:
    annotations = generate_shapes(tmp_path, split="a", count=30, size=SIZE, max_objects=6)
    rows = json.loads(annotations.read_text())["annotations"]
    partly = [row for row in rows if isinstance(row["segmentation"], dict)]
    assert partly
    assert {flag for row in rows for flag in row["keypoints"][2::3]} == {1, 2}
    assert all(set(row["keypoints"][2::3]) == {2} for row in rows if isinstance(row["segmentation"], list))


def test_crowd_regions_come_on_request(drawn: Path, tmp_path: Path) -> None:
    generate_shapes(tmp_path, split="a", count=3, size=SIZE, crowd=1.0)
    dataset = load_coco(tmp_path / "a.json", tmp_path / "a", decode_images=True)
    assert [sum(a.iscrowd for a in group) for group in dataset.annotations.values()] == [1, 1, 1]
    assert check_coco(drawn / "train.json", drawn / "train").counts["crowd regions"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"classes": ("circle", "hexagon")},
        {"classes": ()},
        {"classes": ("circle", "circle")},
        {"size": (8, 64)},
        {"max_objects": 0},
        {"count": 0},
        {"split": "../up"},
        {"crowd": 1.5},
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        generate_shapes(tmp_path, **{"split": "a", "count": 1, **options})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_verbs_return_what_they_found(tmp_path: Path) -> None:
    drawn = draw_shapes(tmp_path, {"train": 2, "val": 1}, size=SIZE)
    assert {split: check_data(path, tmp_path / split).counts["images"] for split, path in drawn.items()} == {
        "train": 2,
        "val": 1,
    }
    (tmp_path / "val/000001.xml").write_text("<annotation/>")
    assert data_from_voc(tmp_path / "val", "all", tmp_path / "voc.json").image_count == 1
    with pytest.raises(UsageError):
        draw_shapes(tmp_path, {})
    with pytest.raises(UsageError):
        draw_shapes(tmp_path / "new", {"train": 1, "no split": 1})
    assert not (tmp_path / "new").exists()
