import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from lth_deploy.detectors import build_detector
from lth_deploy.detectors.norms import groups
from tests.tiny_detectors import CLASSES, batch, tiny_detector, tiny_spec, torch

NORMS = {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm2d, "group": nn.GroupNorm}


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet", "ssdlite"])
def test_the_backbone_has_only_the_norm_that_was_asked_for(name: str, kind: str) -> None:
    model = build_detector(tiny_spec(name, norm=kind), CLASSES)
    kinds = {type(module) for module in model.backbone.modules() if isinstance(module, tuple(NORMS.values()))}
    assert kinds == {NORMS[kind]}
    assert torch.isfinite(sum(model(*batch()).values()))


def test_batch_norm_trains_its_scale_and_its_statistics() -> None:
    model = tiny_detector("retinanet")
    norm = model.backbone.body.bn1
    before = norm.running_mean.clone(), norm.running_var.clone()
    sum(model(*batch()).values()).backward()
    assert not torch.equal(norm.running_mean, before[0])
    assert not torch.equal(norm.running_var, before[1])
    assert norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["retinanet", "ssdlite"])
@pytest.mark.parametrize("count", range(6))
def test_frozen_stages_never_change_and_the_others_do(name: str, count: int) -> None:
    model = build_detector(tiny_spec(name, frozen_layers=count), CLASSES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], 0.1)
    sum(model(*batch()).values()).backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    frozen = {key for key in before if _stage(name, key) < count}
    assert (count > 0) == bool(frozen)
    assert not changed & frozen
    assert {key for key in before if key.endswith("running_mean")} - frozen <= changed


def test_freezing_keeps_what_the_network_computes() -> None:
    images = torch.rand(2, 3, 64, 64)
    torch.manual_seed(0)
    free = build_detector(tiny_spec("retinanet"), CLASSES).eval()
    torch.manual_seed(0)
    frozen = build_detector(tiny_spec("retinanet", frozen_layers=3), CLASSES).eval()
    for ours, theirs in zip(free.backbone(images).values(), frozen.backbone(images).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


@settings(derandomize=True, max_examples=50)
@given(st.integers(1, 1024))
def test_groups_divide_the_channels_and_hold_more_than_one(channels: int) -> None:
    count = groups(channels)
    assert channels % count == 0
    assert count <= 32
    assert count == 1 or channels // count >= 4


def _stage(name: str, key: str) -> int:
    """Stage of a parameter, 0 the stem; 99 outside what can be frozen."""
    parts = key.split(".")
    if name == "retinanet":
        if parts[:2] != ["backbone", "body"]:
            return 99
        return 0 if parts[2] in ("conv1", "bn1") else int(parts[2].removeprefix("layer"))
    if parts[:2] != ["backbone", "features"]:
        return 99
    if parts[2] == "1" or int(parts[3]) == 13:
        return 4
    return [0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3][int(parts[3])]
