import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from lth_deploy.detectors.paste import paste_masks
from lth_deploy.detectors.transform import IMAGENET_MEAN, IMAGENET_STD, fit_transform
from tests.tiny_detectors import torch

corner = st.floats(-8, 40, width=32)
length = st.floats(1, 40, width=32)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(corner, corner, length, length, st.integers(0, 99))
def test_pasting_is_bilinear_sampling_at_pixel_centers(
    left: float, top: float, width: float, height: float, seed: int
) -> None:
    torch.manual_seed(seed)
    mask = torch.rand(1, 1, 7, 7)
    box = torch.tensor([[left, top, left + width, top + height]])
    rows, columns = torch.arange(30) + 0.5, torch.arange(44) + 0.5
    y, x = (rows - top) / height * 2 - 1, (columns - left) / width * 2 - 1
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)[None]
    expected = functional.grid_sample(mask, grid, align_corners=False)
    torch.testing.assert_close(paste_masks(mask, box, (30, 44)), expected, atol=2e-4, rtol=0)


def test_a_full_mask_fills_its_box_and_nothing_else() -> None:
    pasted = paste_masks(torch.ones(1, 1, 28, 28), torch.tensor([[4.0, 6.0, 20.0, 16.0]]), (24, 32))[0, 0]
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[6:16, 4:20] = True
    assert torch.equal(pasted >= 0.5, inside)


def test_no_objects_no_masks() -> None:
    assert paste_masks(torch.zeros(0, 1, 28, 28), torch.zeros(0, 4), (24, 32)).shape == (0, 1, 24, 32)


@pytest.mark.parametrize("size", [(64, 96), (64, 70), (50, 96), (30, 40), (200, 300), (300, 200)])
def test_transform_agrees_with_torchvisions(size: tuple[int, int]) -> None:
    theirs = GeneralizedRCNNTransform(64, 96, list(IMAGENET_MEAN), list(IMAGENET_STD))
    image = torch.rand(3, *size)
    target = {"boxes": torch.tensor([[1.0, 2.0, 20.0, 25.0]]), "masks": torch.ones(1, *size).byte()}
    (ours, our_targets), (expected, their_targets) = (
        transform([image], [target]) for transform in (fit_transform(64, 96), theirs)
    )
    assert ours.image_sizes == expected.image_sizes
    torch.testing.assert_close(ours.tensors, expected.tensors)
    torch.testing.assert_close(our_targets[0]["boxes"], their_targets[0]["boxes"])
    assert torch.equal(our_targets[0]["masks"], their_targets[0]["masks"])


def test_an_image_of_the_right_size_is_not_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = fit_transform(64, 96)
    monkeypatch.setattr(functional, "interpolate", lambda *_, **__: pytest.fail("resampled at scale 1"))
    transform([torch.rand(3, 64, 96), torch.rand(3, 64, 64)])
