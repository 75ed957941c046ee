from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from lth_deploy.config.training_spec import AugmentSpec  # noqa: E402
from lth_deploy.data.batches.augment import lit, moved, through_window  # noqa: E402
from lth_deploy.data.batches.image_rng import Draws  # noqa: E402
from lth_deploy.data.batches.samples import Sample  # noqa: E402

HEIGHT, WIDTH = 48, 64
BOXES = [[8.0, 12.0, 24.0, 20.0], [40.0, 30.0, 60.0, 44.0]]
COLORS = [(250, 10, 10), (10, 10, 250)]


def drawn() -> Sample:
    """Two objects of one color each on gray: their pixels say where their boxes, masks and corners must be."""
    image = torch.full((3, HEIGHT, WIDTH), 128, dtype=torch.uint8)
    masks = torch.zeros((2, HEIGHT, WIDTH), dtype=torch.uint8)
    for mask, (x1, y1, x2, y2), color in zip(masks, BOXES, COLORS, strict=True):
        rows, columns = slice(int(y1), int(y2)), slice(int(x1), int(x2))
        image[:, rows, columns] = torch.tensor(color, dtype=torch.uint8)[:, None, None]
        mask[rows, columns] = 1
    # The left and the right upper corner, and a point that is not labeled.
    keypoints = torch.tensor([[[x1, y1, 2], [x2, y1, 1], [0, 0, 0]] for x1, y1, x2, _ in BOXES])
    return Sample(7, image, torch.tensor(BOXES), torch.tensor([1, 2]), masks, keypoints)


def extent(where: Any) -> list[float]:
    rows, columns = torch.nonzero(where, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def painted(image: Any, label: int) -> Any:
    """Where an image shows the color of an object."""
    color = torch.tensor(COLORS[label - 1])[:, None, None]
    return (image.float() - color).abs().amax(0) < 60


SPEC = AugmentSpec(vertical_flip=0.5, zoom=[0.6, 1.7])


@pytest.mark.parametrize("epoch", range(30))
def test_boxes_masks_and_keypoints_follow_the_pixels(epoch: int) -> None:
    after = moved(drawn(), 0.5, SPEC, Draws(0, epoch, 7), [1, 0, 2])
    assert after.image.shape == (3, HEIGHT, WIDTH)
    assert after.masks is not None
    assert after.keypoints is not None
    assert len(after.boxes) == len(after.labels) == len(after.masks) == len(after.keypoints)
    for box, label, mask, points in zip(after.boxes, after.labels, after.masks, after.keypoints, strict=True):
        assert box.tolist() == pytest.approx(extent(painted(after.image, int(label))), abs=1.6)
        assert box.tolist() == pytest.approx(extent(mask), abs=1.1)
        for x, y, seen in points.tolist():
            if seen:  # a corner of the box, unless that is cut off
                assert min(abs(x - box[0]), abs(x - box[2])) < 0.01
                assert min(abs(y - box[1]), abs(y - box[3])) < 0.01
        # Names change with each mirror, so seen from the middle the first point still comes before the second.
        if points[0, 2] and points[1, 2]:
            assert (points[0, 0] < points[1, 0]) == bool(points[0, 1] < (box[1] + box[3]) / 2)


def test_the_draws_reach_both_mirrors_and_both_ends_of_the_zoom() -> None:
    mirrors, widths = set(), []
    for epoch in range(200):
        after = moved(drawn(), 0.5, SPEC, Draws(0, epoch, 7), [0, 1, 2])
        if after.labels.tolist() == [1, 2]:
            first, second = after.boxes
            mirrors.add((bool(first[0] < second[0]), bool(first[1] < second[1])))
            if first[0] > 0 and first[2] < WIDTH:  # not cut
                widths.append(float(first[2] - first[0]) / 16)
    assert len(mirrors) == 4
    assert 0.58 < min(widths) < 0.65
    assert 1.5 < max(widths) < 1.75


def test_a_window_cuts_boxes_and_drops_what_is_hardly_seen() -> None:
    half = through_window(drawn(), (16, 0, 32, 24), 0.3)
    assert half.boxes.tolist() == [[0, 24, 16, 40]]  # half of it is left, twice as large; the other is outside
    assert half.labels.tolist() == [1]
    assert half.keypoints is not None
    assert half.keypoints.tolist() == [[[0, 0, 0], [16, 24, 1], [0, 0, 0]]]
    assert len(through_window(drawn(), (16, 0, 32, 24), 0.51).boxes) == 0
    assert len(through_window(drawn(), (16, 0, 32, 24), 0.5).boxes) == 1


def test_the_border_around_a_smaller_image_has_its_mean_color() -> None:
    sample = drawn()
    small = through_window(sample, (-64, -48, 192, 144), 0.3)
    mean = sample.image.float().mean((1, 2)).round().tolist()
    assert small.image[:, 0, 0].tolist() == mean
    assert small.image[:, -1, -1].tolist() == mean
    assert small.boxes[0].tolist() == pytest.approx([(8 + 64) / 3, (12 + 48) / 3, (24 + 64) / 3, (20 + 48) / 3])


def test_an_image_without_objects_keeps_its_shapes() -> None:
    sample = through_window(drawn(), (0, 0, 4, 3), 0.3)  # shows none
    for box in ((-64, -48, 192, 144), (3, 2, 20, 15)):
        after = through_window(sample, box, 0.3)
        assert after.boxes.shape == (0, 4)
        assert after.masks is not None
        assert after.masks.shape == (0, HEIGHT, WIDTH)
        assert after.keypoints is not None
        assert after.keypoints.shape == (0, 3, 3)


def test_light_changes_brightness_and_contrast_and_stays_in_range() -> None:
    image = torch.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5)
    brighter = [lit(image, AugmentSpec(brightness=0.4), Draws(0, epoch, 1)) for epoch in range(50)]
    factors = [float(one[0, 1, 0] / image[0, 1, 0]) for one in brighter]
    assert 0.6 <= min(factors) < 0.7
    assert 1.3 < max(factors) <= 1.4
    assert max(float(one.max()) for one in brighter) == 1
    for epoch in range(20):
        flatter = lit(image, AugmentSpec(contrast=0.3), Draws(0, epoch, 1))
        assert 0.69 < float(flatter.std() / image.std()) < 1.31
        assert float(flatter.mean()) == pytest.approx(0.5, abs=0.01)


def test_nothing_asked_for_changes_nothing() -> None:
    sample = drawn()
    assert moved(sample, 0.0, AugmentSpec(), Draws(0, 0, 7), [0, 1, 2]) is sample
    image = sample.image.float() / 255
    assert torch.equal(lit(image, AugmentSpec(), Draws(0, 0, 7)), image)


def test_draws_are_uniform_and_differ_by_every_key() -> None:
    values = [
        Draws(seed, epoch, image).uniform(name)
        for seed in range(4)
        for epoch in range(10)
        for image in range(50)
        for name in ("flip", "zoom")
    ]
    assert len(set(values)) == len(values)
    assert 0 <= min(values) < 0.01 < 0.99 < max(values) < 1
    assert abs(np.mean([value < 0.5 for value in values]) - 0.5) < 0.05
    assert -3 <= Draws(0, 0, 0).uniform("zoom", -3, -2) < -2
