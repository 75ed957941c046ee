"""Where a pass is quantized, whose ranges are whose, and what stays float."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from lth_deploy.errors import TrainingError  # noqa: E402
from lth_deploy.training.quantization import FreezeRanges, calibrate, restored  # noqa: E402
from lth_deploy.training.ranges import Site, grids_in  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402

Forward = Callable[[Any, Tensor], Any]


class Net(nn.Module):
    """Three convolutions, and a forward that a test gives."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.relu = nn.ReLU(inplace=True)
        self._forward = forward

    def forward(self, images: list[Tensor]) -> Any:
        return self._forward(self, torch.stack(images))


def images(seed: int = 0) -> list[Tensor]:
    return list(torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)))


def sites(forward: Forward) -> set[tuple[str, str, int]]:
    net = Net(forward)
    calibrate(net, "abc", [images(0), images(1)])
    return set(grids_in(net.state_dict()))


def on_grid(values: Tensor, state: dict[str, Tensor], site: Site) -> bool:
    scale, _ = grids_in(state)[site]
    steps = values / scale
    return bool(((steps - steps.round()).abs() < 1e-3).all())


def test_each_layer_reads_a_grid_and_the_last_output_stays_float() -> None:
    def chain(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.c(net.relu(net.b(net.relu(net.a(x)))))
        return result

    assert sites(chain) == {("a", "input", 0), ("b", "input", 0), ("c", "input", 0)}


def test_a_transposed_convolution_is_a_layer_like_others() -> None:
    def chain(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.c(net.relu(net.b(net.relu(net.a(x)))))
        return result

    net = Net(chain)
    net.b = nn.ConvTranspose2d(4, 4, 2, stride=2)
    plain = copy.deepcopy(net)
    calibrate(net, "abc", [images()])
    assert set(grids_in(net.state_dict())) == {("a", "input", 0), ("b", "input", 0), ("c", "input", 0)}
    got, expected = net(images()), plain(images())
    assert not torch.equal(got, expected)
    assert (got - expected).abs().max() < 0.05 * expected.abs().max()


def test_relu_acts_before_the_rounding_in_place_or_not() -> None:
    for relu in (
        F.relu,
        lambda x: F.relu(x, inplace=True),
        torch.relu,
        lambda x: x.relu_(),
        lambda x: F.hardtanh(x, 0, 6),
    ):

        def chain(net: Any, x: Tensor, relu: Any = relu) -> Tensor:
            result: Tensor = net.b(relu(net.a(x)))
            return result

        net = Net(chain)
        calibrate(net, "ab", [images()])
        assert grids_in(net.state_dict())[Site("b", "input", 0)][1] == 0


def test_residual_sums_read_grids_and_their_result_has_its_reader_s() -> None:
    def block(net: Any, x: Tensor) -> Tensor:
        out = net.b(net.relu(net.a(x)))
        out += x
        result: Tensor = net.c(net.relu(out))
        return result

    # x belongs to its first reader, a; the sum's other operand to the layer that made it.
    assert sites(block) == {("a", "input", 0), ("b", "input", 0), ("b", "output", 0), ("c", "input", 0)}


def test_all_readers_see_the_same_values() -> None:
    seen: list[Tensor] = []

    def block(net: Any, x: Tensor) -> Tensor:
        y = net.relu(net.a(x))
        net.b(y)
        seen.append(y * 1)
        result: Tensor = net.c(y)
        return result

    assert sites(block) == {("a", "input", 0), ("b", "input", 0)}
    net = Net(block)
    calibrate(net, "abc", [images()])
    net(images())
    assert on_grid(seen[-1], net.state_dict(), Site("b", "input", 0))


def test_pooling_and_upsampling_share_the_grid_of_what_they_move() -> None:
    def moved(net: Any, x: Tensor) -> Tensor:
        up = F.interpolate(F.max_pool2d(net.relu(net.a(x)), 2, 2), scale_factor=2.0)
        result: Tensor = net.c(net.b(x) + up)
        return result

    assert sites(moved) == {("a", "input", 0), ("a", "output", 0), ("b", "output", 0), ("c", "input", 0)}

    def blurred(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.c(F.interpolate(net.a(x), scale_factor=2.0, mode="bilinear"))
        return result

    assert sites(blurred) == {("a", "input", 0), ("c", "input", 0)}


def test_an_output_read_with_and_without_relu_has_a_grid_of_its_own() -> None:
    """RetinaNet's P6: the heads read it as it is, P7 behind a ReLU."""

    def pyramid(net: Any, x: Tensor) -> Tensor:
        p6 = net.a(x)
        p7 = net.b(F.relu(p6))
        return torch.cat([net.c(p6), net.c(p7)])

    assert sites(pyramid) == {
        ("a", "input", 0), ("a", "output", 0), ("b", "input", 0), ("c", "input", 1),
    }  # fmt: skip


def test_a_shared_layer_has_a_range_for_every_run() -> None:
    def heads(net: Any, x: Tensor) -> list[Tensor]:
        return [net.a(x), net.a(10 * x), net.a(x[..., ::2])]

    net = Net(heads)
    calibrate(net, "a", [images()])
    scales = [grids_in(net.state_dict())[Site("a", "input", call)][0] for call in range(3)]
    assert scales[1] == pytest.approx(10 * scales[0])


def test_layers_that_are_not_named_stay_float() -> None:
    def chain(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.b(net.relu(net.a(x)))
        return result

    net = Net(chain)
    calibrate(net, ["b"], [images()])
    assert set(grids_in(net.state_dict())) == {("b", "input", 0)}
    plain = Net(chain)
    expected, got = (model.relu(model.a(torch.stack(images()))) for model in (plain, net))
    assert torch.equal(expected, got)


def test_fully_connected_layers_over_tokens_stay_float() -> None:
    """A graph multiplies by their turned weights; one that reads rows is a layer like others."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.tokens, self.rows = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, images: list[Tensor]) -> Any:
            return self.rows(self.tokens(self.conv(torch.stack(images)).flatten(2).mT).mean(1))

    model = Mixed()
    before = copy.deepcopy(model)
    calibrate(model, ["conv", "tokens", "rows"], [images()])
    assert {site.layer for site in grids_in(model.state_dict())} == {"conv", "rows"}
    tokens = torch.randn(2, 5, 4)
    assert torch.equal(model.tokens(tokens), before.tokens(tokens))


def test_ranges_follow_until_they_freeze() -> None:
    def chain(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.a(x)
        return result

    net = Net(chain)
    hook = FreezeRanges(calibrate(net, "a", [images()]), until=2)
    ranges = [net.a.input_range.clone()]
    for step in range(4):
        hook.before_step(step)
        net.train()([3 * image for image in images()])
        hook.after_step(step, {})
        ranges.append(net.a.input_range.clone())
        net([100 * image for image in images()])  # between steps nothing is observed
    torch.testing.assert_close(ranges[1], 0.95 * ranges[0] + 0.05 * 3 * ranges[0])
    assert not torch.equal(ranges[1], ranges[2])
    assert torch.equal(ranges[2], ranges[3])
    assert torch.equal(ranges[2], ranges[4])


def test_an_empty_batch_leaves_no_range() -> None:
    def chain(net: Any, x: Tensor) -> Tensor:
        result: Tensor = net.b(net.a(x)[:0])
        return result

    assert sites(chain) == {("a", "input", 0)}


def test_a_copy_and_a_stored_state_compute_the_same() -> None:
    def block(net: Any, x: Tensor) -> Tensor:
        out = net.b(net.relu(net.a(x)))
        out += x
        result: Tensor = net.c(net.relu(out))
        return result

    net = Net(block)
    calibrate(net, "abc", [images()])
    expected = net(images(3))
    assert torch.equal(copy.deepcopy(net)(images(3)), expected)
    again = restored(Net(block).eval(), TrainingState.capture(0, net))
    assert torch.equal(again(images(3)), expected)
    plain = Net(block)
    assert not torch.equal(plain(images(3)), expected)
    assert restored(plain, TrainingState.capture(0, plain)) is plain


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    def failing(net: Any, x: Tensor) -> Tensor:
        net.a(x)
        if x.shape[-1] != 8:
            raise ValueError("on purpose")
        return x

    net = Net(failing)
    calibrate(net, "a", [images()])
    with pytest.raises(ValueError, match="on purpose"):
        net([image[..., :4] for image in images()])
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(net.a(x), Net(failing).a(x))


def test_a_layer_that_runs_more_often_in_training_is_refused() -> None:
    def uneven(net: Any, x: Tensor) -> list[Tensor]:
        return [net.a(x) for _ in range(2 if net.training else 1)]

    net = Net(uneven)
    calibrate(net, "a", [images()])
    with pytest.raises(TrainingError, match="'a' runs more often in training"):
        net.train()(images())


def test_nothing_to_quantize_is_refused() -> None:
    with pytest.raises(TrainingError, match="float_layers"):
        calibrate(Net(lambda net, x: x), "a", [images()])
