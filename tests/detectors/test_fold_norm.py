import copy

import numpy as np
import pytest
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.groups import prunable_modules
from lth_deploy.detectors.inference import predict
from tests.tiny_detectors import FAMILIES, picture, tiny_detector, torch


@pytest.mark.parametrize("norm", ["batch", "frozen", "group"])
@pytest.mark.parametrize("name", FAMILIES)
def test_folding_changes_no_answer(name: str, norm: str) -> None:
    model = tiny_detector(name, norm=norm)
    folded = fold_norm(model)
    before, after = (predict(network, [picture(80, 90)])[0] for network in (model, folded.module))
    assert len(before) > 0
    np.testing.assert_allclose(after.boxes, before.boxes, atol=1e-2)
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-4)
    features = torch.rand(1, 3, 64, 64)
    expected, actual = model.eval().backbone(features), folded.module.backbone(features)
    for level in expected:
        scale = expected[level].abs().max()
        torch.testing.assert_close(actual[level] / scale, expected[level] / scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "frozen"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_batch_norm_is_folded(name: str, norm: str) -> None:
    folded = fold_norm(tiny_detector(name, norm=norm))
    kinds = {type(module) for module in folded.module.modules()}
    assert not kinds & {nn.BatchNorm2d, FrozenBatchNorm2d}
    # FCOS brings group norm in its head; it is reported, with a reason.
    assert len(folded.kept) == (8 if name == "fcos" else 0)
    assert all("GroupNorm" in reason for _, reason in folded.kept)


def test_group_norm_stays_and_is_named() -> None:
    folded = fold_norm(tiny_detector("retinanet", norm="group"))
    assert folded.folded == ()
    assert "backbone.body.layer1.0.bn1" in dict(folded.kept)


def test_zeros_stay_zeros_and_no_new_ones_appear() -> None:
    model = tiny_detector("retinanet")
    for module in prunable_modules(model).values():
        weight = module.weight.data
        weight[torch.rand_like(weight) < 0.8] = 0.0
    model.backbone.body.bn1.weight.data[::2] *= -1
    folded = prunable_modules(fold_norm(model).module)
    for name, module in prunable_modules(model).items():
        assert torch.equal(folded[name].weight == 0, module.weight == 0), name
        assert not (torch.signbit(folded[name].weight) & (folded[name].weight == 0)).any(), "negative zero"


def test_the_trained_model_is_not_touched() -> None:
    model = tiny_detector("ssdlite").train()
    before = copy.deepcopy(model.state_dict())
    fold_norm(model)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_norm_without_a_convolution_before_it_stays() -> None:
    odd = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 1), nn.ReLU(), nn.BatchNorm2d(5))
    folded = fold_norm(odd)
    assert [name for name, _ in folded.kept] == ["0", "3"]
    untracked = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5, track_running_stats=False))
    assert "without running statistics" in fold_norm(untracked).kept[0][1]


def test_convolution_with_a_bias_and_norm_without_scale() -> None:
    pair = nn.Sequential(nn.Conv2d(3, 5, 3, bias=True), nn.BatchNorm2d(5, affine=False)).eval()
    pair[1].running_mean.normal_()
    pair[1].running_var.uniform_(0.5, 2)
    images = torch.rand(2, 3, 8, 8)
    folded = fold_norm(pair)
    assert folded.kept == ()
    torch.testing.assert_close(folded.module(images), pair(images))


def test_what_was_frozen_stays_frozen() -> None:
    model = tiny_detector("retinanet", frozen_layers=0)
    model.backbone.body.layer1.requires_grad_(False)
    folded = fold_norm(model).module
    for name, module in prunable_modules(folded).items():
        assert module.weight.requires_grad == module.bias.requires_grad == ("layer1" not in name), name
