"""The kernel of RoiAlign against ONNX Runtime's own, on boxes of every kind, with every instruction set."""

from pathlib import Path

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RuntimeException

from lth_deploy.compiler.roi_align import fast_roi_align
from lth_deploy.kernels import ops_library
from tests.roi_align_models import ALIGNED, BINS, TORCHVISION, feeds, model, run

LIBRARY = ops_library()
SHAPES = [(64, 20, 24), (3, 1, 7), (37, 13, 5), (1, 1, 1), (130, 9, 9)]


@pytest.mark.parametrize("place", [ALIGNED, TORCHVISION], ids=["aligned", "torchvision"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_kernel_computes_what_a_stock_runtime_does(
    shape: tuple[int, int, int],
    place: dict[str, str],
    instruction_sets: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = model({**place, **BINS})
    given = feeds(*shape)
    expected = run(plain, given)
    for name, library in instruction_sets.items():
        monkeypatch.setenv("LTH_ISA", name.split()[0])
        for threads in (1, 2):
            found = run(fast_roi_align(plain), given, library, threads)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6, err_msg=name)


def test_bins_of_a_mask_head_and_many_samples() -> None:
    plain = model({**TORCHVISION, "output_height": 14, "output_width": 14, "sampling_ratio": 5, "spatial_scale": 0.125})
    given = feeds(33, 12, 17)
    np.testing.assert_allclose(run(fast_roi_align(plain), given, LIBRARY), run(plain, given), rtol=1e-5, atol=2e-6)


def test_no_boxes_are_no_work() -> None:
    given = feeds(4, 6, 6) | {"b": np.zeros((0, 4), np.float32), "i": np.zeros(0, np.int64)}
    assert run(fast_roi_align(model({**TORCHVISION, **BINS})), given, LIBRARY).shape == (0, 4, 3, 2)


@pytest.mark.parametrize("image", [-1, 2])
def test_a_box_of_no_image_is_refused(image: int) -> None:
    given = feeds(4, 6, 6)
    given["i"][7] = image
    with pytest.raises(InvalidArgument, match=f"box 7 is of image {image}"):
        run(fast_roi_align(model({**TORCHVISION, **BINS})), given, LIBRARY)


@pytest.mark.parametrize("corner", [np.nan, np.inf, -np.inf, 1e38])
def test_boxes_that_are_nowhere_pool_nothing(corner: float) -> None:
    given = feeds(4, 6, 6)
    given["b"][:] = corner
    assert not run(fast_roi_align(model({**TORCHVISION, **BINS})), given, LIBRARY).any()


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("output_height", 257, "output_height is 257, it lies between 1 and 256"),
        ("sampling_ratio", 0, "sampling_ratio is 0"),
        ("spatial_scale", float("nan"), "no positive number"),
        ("mode", b"max", "the kernel knows avg"),
        ("coordinate_transformation_mode", b"asymmetric", "half_pixel or output_half_pixel"),
    ],
)
def test_a_node_that_lies_is_refused_when_the_session_opens(name: str, value: object, refusal: str) -> None:
    fast = fast_roi_align(model({**TORCHVISION, **BINS}))
    said = next(one for one in fast.graph.node[1].attribute if one.name == name)
    setattr(said, {2: "i", 1: "f", 3: "s"}[said.type], value)
    with pytest.raises(RuntimeException, match=refusal):
        run(fast, feeds(4, 6, 6), LIBRARY)
