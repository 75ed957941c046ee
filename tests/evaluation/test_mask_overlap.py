"""Overlap of masks, and what chance gives."""

import numpy as np
import pytest

from lth_deploy.errors import DataError
from lth_deploy.evaluation.mask_overlap import mask_overlap


def test_hand_made_masks() -> None:
    first = {"a": np.array([True, True, False, False]), "b": np.array([True, False]), "only": np.ones(1, np.bool_)}
    second = {"a": np.array([True, False, True, False]), "b": np.array([True, False])}
    found = mask_overlap(first, second)
    assert [layer.iou for layer in found.layers] == [pytest.approx(1 / 3), 1]
    assert found.iou == pytest.approx(2 / 4)
    assert found.left_out == ("only",)
    # a: 2 * 2 / 4 = 1 weight in common by chance, of 3 that either keeps; b: a half, of 1.5.
    assert [layer.by_chance for layer in found.layers] == [pytest.approx(1 / 3), pytest.approx(1 / 3)]
    assert found.by_chance == pytest.approx(1.5 / 4.5)


def test_random_masks_overlap_by_chance() -> None:
    generator = np.random.default_rng(0)
    one, other = ({"a": generator.random(200_000) < share} for share in (0.2, 0.5))
    found = mask_overlap(one, other)
    assert found.iou == pytest.approx(found.by_chance, rel=0.02)
    assert mask_overlap(one, one).iou == 1


def test_masks_that_keep_nothing_have_no_overlap() -> None:
    nothing = {"a": np.zeros(5, np.bool_)}
    assert mask_overlap(nothing, nothing).iou is None
    assert mask_overlap(nothing, nothing).by_chance is None


def test_other_shapes_are_left_out_and_nothing_in_common_is_an_error() -> None:
    one, other = {"a": np.ones(5, np.bool_)}, {"a": np.ones((5, 1), np.bool_)}
    with pytest.raises(DataError, match="no layer of one name and shape in common"):
        mask_overlap(one, other)
