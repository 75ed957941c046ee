"""Merging pyramid levels gives what torchvision's own merging gives."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")


@pytest.mark.parametrize("counts", [(3, 0, 2), (0, 0, 0), (1, 4, 0), (0, 0, 5)])
def test_regions_come_back_in_their_order(counts: tuple[int, ...]) -> None:
    from torchvision.ops import poolers

    from lth_deploy.detectors.pooling import merge_levels

    levels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    levels = levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(0))]
    pooled = [torch.randn(count, 2, 3, 3) for count in counts]
    expected = poolers._onnx_merge_levels(levels, pooled)
    torch.testing.assert_close(merge_levels(levels, pooled), expected, rtol=0, atol=0)


def test_torchvision_is_itself_again_afterwards() -> None:
    from torchvision.ops import poolers

    from lth_deploy.detectors.pooling import levels_merged_by_rows

    original = poolers._onnx_merge_levels
    with levels_merged_by_rows():
        assert poolers._onnx_merge_levels is not original
    assert poolers._onnx_merge_levels is original
