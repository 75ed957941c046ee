"""Free orders of channels: any of them leaves every answer as it was."""

import numpy as np
import pytest

from lth_deploy.detectors.channels import channel_groups
from lth_deploy.detectors.inference import predict, to_input
from tests.tiny_detectors import picture, tiny_detector, torch

PHOTO = picture(64, 80)


def shuffle(model, groups) -> int:
    """Every group in a random order; how many tensors changed."""
    generator = torch.Generator().manual_seed(0)
    state, changed = model.state_dict(), set()
    for group in groups:
        places = torch.randperm(group.size, generator=generator)
        for name, axis in group.axes(model):
            state[name] = state[name].index_select(axis, places)
            changed.add(name)
    model.load_state_dict(state)
    return len(changed)


@pytest.mark.parametrize(
    ("family", "norm", "fixed"),
    [
        # RetinaNet: all but the image's channels and the predictors' outputs.
        ("retinanet", "batch", {"head.classification_head.cls_logits", "head.regression_head.bbox_reg"}),
        ("retinanet", "frozen", {"head.classification_head.cls_logits", "head.regression_head.bbox_reg"}),
        ("ssdlite", "batch", None),
        ("mask_rcnn", "batch", None),
        ("faster_rcnn/c4", "batch", None),
    ],
)
def test_any_order_of_free_channels_gives_the_same_answers(family: str, norm: str, fixed: set[str] | None) -> None:
    model = tiny_detector(family, norm=norm).eval()
    expected = predict(model, [PHOTO])[0]
    groups = channel_groups(model, [to_input(torch.from_numpy(PHOTO))])
    written = {layer for group in groups for layer in group.writers}
    if fixed is not None:
        layers = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)}
        assert layers - written == fixed
    assert shuffle(model, groups) > 20
    found = predict(model, [PHOTO])[0]
    assert len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_residual_partners_share_an_order_and_heads_join_the_pyramid() -> None:
    groups = channel_groups(tiny_detector("retinanet"), [to_input(torch.from_numpy(PHOTO))])
    of = {layer: number for number, group in enumerate(groups) for layer in group.writers}
    body = "backbone.body."
    assert of[f"{body}conv1"] == of[f"{body}layer1.0.conv2"] == of[f"{body}layer1.1.conv2"]
    assert of[f"{body}layer2.0.downsample.0"] == of[f"{body}layer2.0.conv2"] != of[f"{body}layer2.0.conv1"]
    pyramid = groups[of["backbone.fpn.extra_blocks.p7"]]
    assert {"backbone.fpn.layer_blocks.0.0", "backbone.fpn.extra_blocks.p6"} < set(pyramid.writers)
    assert "head.regression_head.conv.0.0" in pyramid.readers


def test_a_layer_that_reads_the_order_that_it_writes_changes_along_both_axes() -> None:
    model = tiny_detector("retinanet")
    (pyramid,) = [
        group
        for group in channel_groups(model, [to_input(torch.from_numpy(PHOTO))])
        if "backbone.fpn.extra_blocks.p7" in group.writers
    ]
    axes = [axis for name, axis in pyramid.axes(model) if name == "backbone.fpn.extra_blocks.p7.weight"]
    assert sorted(axes) == [0, 1]
    images = torch.rand(1, 3, 128, 128)
    expected = [level.clone() for level in model.eval().backbone(images).values()]
    places = torch.randperm(pyramid.size, generator=torch.Generator().manual_seed(0))
    state = model.state_dict()
    for name, axis in pyramid.axes(model):
        state[name] = state[name].index_select(axis, places)
    model.load_state_dict(state)
    for level, before in zip(model.backbone(images).values(), expected, strict=True):
        torch.testing.assert_close(level, before[:, places], rtol=1e-4, atol=1e-4)


def test_group_norm_keeps_channels_in_place() -> None:
    groups = channel_groups(tiny_detector("fcos"), [to_input(torch.from_numpy(PHOTO))])
    written = {layer for group in groups for layer in group.writers}
    assert not [layer for layer in written if layer.startswith("head")]
    assert "backbone.body.layer3.0.conv1" in written
