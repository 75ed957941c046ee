"""Which functions of torch leave channels apart, and which of them zero: seen on networks of two layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from lth_deploy.detectors.channels import ChannelGroup, channel_groups  # noqa: E402

WIDTH = 6


class Two(nn.Module):
    """A convolution, `between`, and a convolution that reads what it makes; `gate` makes of the same image what it may
    multiply by."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor], reads: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gate = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(3, WIDTH, 3, padding=1)
        self.depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH)
        self.grouped = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(2 * WIDTH)
        self.last = nn.Conv2d(reads, 4, 1)
        self.between = between

    def forward(self, images: list[Tensor]) -> Tensor:
        batch = torch.stack(images)
        self.other = self.gate(batch)
        return self.last(self.between(self, self.first(batch)))


def groups_of(between: Callable[[Any, Tensor], Tensor], reads: int = WIDTH) -> tuple[Two, dict[str, ChannelGroup]]:
    """The groups by the layers that write them."""
    model = Two(between, reads)
    found = channel_groups(model, [torch.rand(3, 8, 8)])
    return model, {layer: group for group in found for layer in group.writers}


def silent_after(model: Two, groups: dict[str, ChannelGroup]) -> bool:
    """Whether what the last layer reads of a channel is zero once all that writes it is."""
    for layer in groups["first"].writers:
        module = model.get_submodule(layer)
        module.weight.data[2] = module.bias.data[2] = 0
    seen: list[Tensor] = []
    hook = model.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model([torch.rand(3, 8, 8)])
    hook.remove()
    return not seen[0][:, 2].any()


SILENT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "silu": lambda model, x: F.silu(x, inplace=True),
    "hardswish": lambda model, x: nn.Hardswish()(x),
    "leaky_relu": lambda model, x: nn.LeakyReLU(0.1)(x),
    "gelu": lambda model, x: nn.GELU()(x),
    "elu": lambda model, x: nn.ELU()(x),
    "mish": lambda model, x: nn.Mish()(x),
    "tanh": lambda model, x: nn.Tanh()(x),
    "relu6": lambda model, x: nn.ReLU6()(x),
    "hardtanh": lambda model, x: nn.Hardtanh(-2, 2)(x),
    "clamp": lambda model, x: x.clamp(min=0),
    "dropout": lambda model, x: nn.Dropout(0.5).eval()(x),
    "product with a number": lambda model, x: 0.5 * x / 3,
    "sum with nothing": lambda model, x: x + 0,
    "pools": lambda model, x: F.avg_pool2d(F.max_pool2d(x, 2), 2),
    "upsampled": lambda model, x: nn.Upsample(scale_factor=2)(x),
    "its own gate": lambda model, x: x * x.sigmoid(),
    "gate": lambda model, x: F.hardsigmoid(F.adaptive_avg_pool2d(model.other, 1)) * x,
    "sum": lambda model, x: x + model.other,
    "depth-wise": lambda model, x: model.depthwise(x),
    "gate of a sum": lambda model, x: (x + model.other) * torch.sigmoid(x),
}
LOUD: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "sigmoid": lambda model, x: nn.Sigmoid()(x),
    "hardsigmoid": lambda model, x: nn.Hardsigmoid()(x),
    "softplus": lambda model, x: nn.Softplus()(x),
    "exp": lambda model, x: x.exp(),
    "sum with a number": lambda model, x: 1 + x,
    "clamp above zero": lambda model, x: torch.clamp(x, 0.1, 1),
    "sum with a gate": lambda model, x: x + model.other.sigmoid(),
    "product of gates": lambda model, x: x.sigmoid() * model.other.sigmoid(),
}
FIXED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "halves": lambda model, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "groups": lambda model, x: model.grouped(x),
    "softmax": lambda model, x: x.softmax(1),
    "rows": lambda model, x: x.flatten(2).unflatten(2, x.shape[2:]),
    "assignment": lambda model, x: x.index_put_((torch.tensor(0),), model.other[0]),
    "batch": lambda model, x: torch.cat([x, x], 0),
    "maximum": lambda model, x: torch.maximum(x, model.other),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_keeps_zeros_is_silent_with_its_writers(name: str) -> None:
    model, groups = groups_of(SILENT[name])
    assert groups["first"].silent
    assert groups["first"].readers == ["last"]
    assert silent_after(model, groups)


@pytest.mark.parametrize("name", LOUD)
def test_what_makes_another_number_of_zero_is_not(name: str) -> None:
    model, groups = groups_of(LOUD[name])
    assert not groups["first"].silent
    assert not silent_after(model, groups)


@pytest.mark.parametrize("name", FIXED)
def test_channels_stay_in_place_behind_anything_else(name: str) -> None:
    assert "first" not in groups_of(FIXED[name])[1]


def test_parts_that_are_joined_have_orders_of_their_own_and_are_read_together() -> None:
    _, groups = groups_of(lambda model, x: F.silu(torch.cat([x, model.other], 1)), 2 * WIDTH)
    assert groups["first"] is not groups["gate"]
    for name in ("first", "gate"):
        assert (groups[name].joined, groups[name].silent, groups[name].readers) == (True, True, ["last"])
    _, groups = groups_of(lambda model, x: torch.cat([x, model.other], 1) + torch.cat([model.other, x], 1), 2 * WIDTH)
    assert groups["first"] is groups["gate"]
    _, groups = groups_of(lambda model, x: torch.cat([x.sigmoid(), model.other], 1), 2 * WIDTH)
    assert (groups["first"].silent, groups["gate"].silent) == (False, True)
    _, groups = groups_of(lambda model, x: model.norm(torch.cat([x, model.other], 1)), 2 * WIDTH)
    assert groups["first"].norms == groups["gate"].norms == ["norm"]


def test_any_order_of_a_depth_wise_group_gives_the_same_answer() -> None:
    model, groups = groups_of(lambda model, x: model.depthwise(x) * model.other.sigmoid())
    image = torch.rand(3, 8, 8)
    with torch.no_grad():
        expected = model([image])
    places, state = torch.tensor([3, 0, 5, 1, 4, 2]), model.state_dict()
    assert set(groups["first"].writers) == {"first", "depthwise", "gate"}
    for name, axis in groups["first"].axes(model):
        state[name] = state[name].index_select(axis, places)
    model.load_state_dict(state)
    with torch.no_grad():
        np.testing.assert_allclose(model([image]), expected, atol=1e-6)
