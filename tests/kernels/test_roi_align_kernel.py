"""The kernel of RoiAlign against ONNX Runtime's own, on boxes of every kind, with every instruction set."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RuntimeException

from lth_deploy.compiler.artifact.roi_align import fast_roi_align
from lth_deploy.kernels import ops_library
from tests.roi_align_models import ALIGNED, BINS, TORCHVISION, feeds, model, run

LIBRARY = ops_library()
SHAPES = [(64, 20, 24), (3, 1, 7), (37, 13, 5), (1, 1, 1), (130, 9, 9)]


@pytest.mark.parametrize("place", [ALIGNED, TORCHVISION], ids=["aligned", "torchvision"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("samples", [2, 0])
def test_the_kernel_computes_what_a_stock_runtime_does(
    samples: int,
    shape: tuple[int, int, int],
    place: dict[str, str],
    instruction_sets: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = model({**place, **BINS, "sampling_ratio": samples})
    given = feeds(*shape)
    if samples == 0:  # a stock runtime fails at boxes that are inside out
        given["b"] = np.sort(given["b"].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
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


@pytest.mark.parametrize("samples", [2, 0])
@pytest.mark.parametrize("corner", [np.nan, np.inf, -np.inf, 1e38])
def test_boxes_that_are_nowhere_pool_nothing(corner: float, samples: int) -> None:
    given = feeds(4, 6, 6)
    given["b"][:] = corner
    said = {**TORCHVISION, **BINS, "sampling_ratio": samples}
    assert not run(fast_roi_align(model(said)), given, LIBRARY).any()


@pytest.mark.parametrize("place", [ALIGNED, TORCHVISION], ids=["aligned", "torchvision"])
def test_as_many_samples_as_a_bin_has_pixels(place: dict[str, str]) -> None:
    plain = model({**place, "output_height": 7, "output_width": 7, "spatial_scale": 0.0625})
    given = feeds(33, 50, 84)
    given["b"][:30] *= [3, 3, 5, 5]
    given["b"] = np.sort(given["b"].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    given["b"][:3] = [[0, 0, 1344, 800], [-1e4, -2e4, 1e4, 2e4], [3.5, 700, 1e5, 701]]
    expected = run(plain, given)
    assert np.ptp(expected[0]) > 0.1
    np.testing.assert_allclose(run(fast_roi_align(plain), given, LIBRARY), expected, rtol=1e-5, atol=2e-6)


def test_boxes_as_large_as_numbers_are_no_work() -> None:
    given = feeds(4, 6, 6)
    given["b"][:] = [-3e38, -3e38, 3e38, 3e38]
    given["b"][1::2] = [-1e7, -2e7, 3e7, 1e7]
    said = {**TORCHVISION, **BINS, "sampling_ratio": 0}
    assert np.abs(run(fast_roi_align(model(said)), given, LIBRARY)).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("output_height", 257, "output_height is 257, it lies between 1 and 256"),
        ("sampling_ratio", -1, "sampling_ratio is -1, it lies between 0 and 16"),
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


def test_an_unknown_instruction_set_is_refused_when_the_session_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTH_ISA", "sse9")
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(LIBRARY))
    fast = fast_roi_align(model({**TORCHVISION, **BINS}))
    with pytest.raises(RuntimeException, match="sse9"):
        onnxruntime.InferenceSession(fast.SerializeToString(), options, providers=["CPUExecutionProvider"])
