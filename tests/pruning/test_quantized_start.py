"""The learning rate of the fine-tuning with fake quantization fits the layer with the smallest weights."""

import logging

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.pruning.search.quantized import peak_rate, weight_sizes  # noqa: E402
from tests.pruning.toy_search import toy_recipe  # noqa: E402


def layers(size: float) -> "torch.nn.Module":
    """Two layers; the weights of the first are `size`, but for half of them, which are pruned."""
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        model[0].weight.fill_(size)
        model[0].weight[:2] = 0.0
        model[1].weight.fill_(1.0)
    return model


def recipe(lr: float | None, optimizer: str = "adamw") -> "object":
    return toy_recipe(
        training={"optimizer": {"name": optimizer, "lr": 1e-2}}, quantization={"levels": [0.5], "steps": 4, "lr": lr}
    )


def test_pruned_weights_have_no_size() -> None:
    assert weight_sizes(layers(0.25), ["0", "1"]) == {"0": pytest.approx(0.25), "1": pytest.approx(1.0)}


def test_layers_without_a_folded_norm_set_no_bound() -> None:
    assert peak_rate(recipe(None), layers(0.02), ["1"]) == pytest.approx(1e-3)
    assert peak_rate(recipe(None), layers(0.02), []) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("size", "optimizer", "expected"), [(0.25, "adamw", 1e-3), (0.02, "adamw", 1e-4), (0.02, "sgd", 1e-3)]
)
def test_a_rate_that_is_not_given_is_small_enough_for_adamw(size: float, optimizer: str, expected: float) -> None:
    assert peak_rate(recipe(None, optimizer), layers(size), ["0", "1"]) == pytest.approx(expected)


@pytest.mark.parametrize(("lr", "warns"), [(1e-3, True), (3e-4, False)])
def test_a_rate_that_is_given_holds_and_is_warned_of(lr: float, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert peak_rate(recipe(lr), layers(0.02), ["0", "1"]) == lr
    assert ("moves the weights of '0' by 5.0 % of their size" in caplog.text) == warns
    assert bool(caplog.records) == warns
