from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from lth_deploy.data.json_values import FaultError
from lth_deploy.data.segmentation import encode_runs, measure, read_segmentation, render

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(np.bool_, shape))
repeatable = settings(derandomize=True, max_examples=50, deadline=None)


@repeatable
@given(masks)
def test_run_lengths_give_the_mask_back(mask: Any) -> None:
    height, width = mask.shape
    runs = encode_runs(mask)
    checked = read_segmentation(runs, width, height)
    assert checked is not None
    assert measure(checked, width, height) == mask.sum()
    np.testing.assert_array_equal(render(checked, (width, height), (width, height)), mask)


@repeatable
@given(masks)
def test_compressed_text_is_measured_as_pycocotools_decodes_it(mask: Any) -> None:
    text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    height, width = mask.shape
    checked = read_segmentation({"size": [height, width], "counts": text}, width, height)
    assert checked is not None
    assert measure(checked, width, height) == mask.sum()


@repeatable
@given(st.text(max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_hostile_text_is_refused_or_fits_the_image(text: str, width: int, height: int) -> None:
    try:
        checked = read_segmentation({"size": [height, width], "counts": text}, width, height)
    except FaultError:
        return
    assert checked is not None
    assert render(checked, (width, height), (width, height)).sum() == measure(checked, width, height)


def test_a_polygon_has_the_area_of_its_pixels() -> None:
    square = [[2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]]
    checked = read_segmentation(square, 20, 20)
    assert checked is not None
    assert measure(checked, 20, 20) == 60
    assert render(checked, (20, 20), (20, 20)).sum() == 60


@pytest.mark.parametrize("kind", ["polygon", "runs"])
def test_a_mask_drawn_smaller_covers_the_same_part(kind: str) -> None:
    whole = np.zeros((40, 60), dtype=bool)
    whole[8:32, 12:48] = True
    segmentation = [[12, 8, 48, 8, 48, 32, 12, 32]] if kind == "polygon" else encode_runs(whole)
    small = render(segmentation, (60, 40), (30, 20))
    np.testing.assert_array_equal(small, whole[::2, ::2])


@pytest.mark.parametrize("nothing", [None, []])
def test_an_empty_segmentation_is_none(nothing: Any) -> None:
    assert read_segmentation(nothing, 9, 9) is None
