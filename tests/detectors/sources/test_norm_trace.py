import copy

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from lth_deploy.detectors.fold_norm import fold_norm  # noqa: E402
from lth_deploy.detectors.layout import Layout, set_layout  # noqa: E402
from lth_deploy.detectors.sources.norm_trace import following_norms  # noqa: E402


class Net(nn.Module):
    """Pairs of each kind: plain, read twice, shared between norms, with weights of another tensor, and grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(6))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(5))
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        for norm in self.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        plain, twice, shared, scaled, sized = self.convs
        x = self.norms[0](plain(x)).relu()
        before = twice(x)
        x = self.norms[1](before) + before
        x = self.norms[2](shared(x)) + self.norms[3](shared(x))
        x = self.norms[4](F.conv2d(x, scaled.weight * 2, padding=1))
        x = sized(x)
        assert x.shape[1] == 8  # a size is no reading of values
        return self.norms[5](self.grouped(x))


def test_only_norms_that_alone_read_a_convolution_are_paired() -> None:
    model = Net().eval()
    assert following_norms(model, lambda: model(torch.rand(1, 8, 9, 9))) == {"convs.0": "norms.0", "grouped": "norms.5"}


def test_what_is_paired_is_folded_and_computes_the_same() -> None:
    model = Net().eval()
    image = torch.rand(2, 8, 9, 9)
    set_layout(model, Layout(norms=following_norms(model, lambda: model(image))))
    folded = fold_norm(model)
    assert folded.folded == ("norms.0", "norms.5")
    assert {name for name, _ in folded.kept} == {f"norms.{number}" for number in range(1, 5)}
    torch.testing.assert_close(folded.module(image), model(image), rtol=1e-4, atol=1e-5)
    again = fold_norm(copy.deepcopy(folded.module))
    assert again.folded == ()
