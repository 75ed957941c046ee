"""Faster R-CNN without a pyramid: sizes, the last stage's place, and what its layers multiply."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from torchvision.models import get_model

from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.inference import predict
from lth_deploy.errors import RecipeError
from lth_deploy.pruning.mac_positions import measure_positions
from lth_deploy.pruning.scope import scoped_layers
from tests.tiny_detectors import CLASSES, picture, tiny_detector, tiny_spec, torch

NAME = "faster_rcnn/c4"


@pytest.mark.parametrize(("backbone", "channels"), [("resnet18", 256), ("resnet34", 256), ("resnet101", 1024)])
def test_every_resnet_gives_one_level_and_a_head_of_twice_its_channels(backbone: str, channels: int) -> None:
    model = build_detector(tiny_spec(NAME, backbone=backbone), CLASSES).eval()
    (level,) = model.backbone(torch.rand(1, 3, 64, 96)).values()
    assert level.shape == (1, channels, 4, 6)
    assert model.rpn.head.conv[0][0].weight.shape == (512, channels, 3, 3)
    assert model.roi_heads.box_head(torch.rand(2, channels, 7, 7)).shape == (2, 2 * channels)


def test_the_proposals_are_chosen_from_as_many_candidates_as_published() -> None:
    model = build_detector(tiny_spec(NAME, proposals=1000), CLASSES)
    for training, candidates, proposals in ((True, 12000, 2000), (False, 6000, 1000)):
        model.train(training)
        assert (model.rpn.pre_nms_top_n(), model.rpn.post_nms_top_n()) == (candidates, proposals)


def test_anchors_of_all_sizes_stand_on_the_one_level_sixteen_pixels_apart() -> None:
    model = tiny_detector(NAME, anchor_sizes=[32, 64], aspect_ratios=[1.0]).eval()
    seen: list[Any] = []
    model.rpn.anchor_generator.register_forward_hook(lambda *found: seen.append(found[-1]))
    predict(model, [picture(64, 96)])
    ((anchors,),) = seen
    assert anchors.shape == (4 * 6 * 2, 4)
    assert set((anchors[:, 2] - anchors[:, 0]).tolist()) == {32.0, 64.0}
    assert float(anchors[2, 0] - anchors[0, 0]) == 16.0


def test_regions_are_read_at_stride_sixteen_and_keep_their_cells() -> None:
    model = tiny_detector(NAME, min_size=66)
    regions: list[Any] = []
    model.roi_heads.box_roi_pool.register_forward_hook(lambda *found: regions.append(found[-1]))
    predict(model, [picture(66, 66)])
    assert regions[0].shape[1:] == (256, 7, 7)
    assert model.roi_heads.box_roi_pool.scales == [1 / 16]


def test_the_head_is_the_last_stage_and_its_mean(tmp_path: Path) -> None:
    """A classifier's file fills the trunk and the head: pooled over a whole image, both make its features."""
    torch.manual_seed(5)
    classifier = get_model("resnet18", weights=None).eval()
    path = tmp_path / "classifier.pth"
    torch.save(classifier.state_dict(), path)
    model = build_detector(tiny_spec(NAME, weights=str(path)), CLASSES).eval()
    images = torch.rand(1, 3, 64, 64)
    expected = torch.nn.Sequential(*list(classifier.children())[:-1])(images).flatten(1)
    (level,) = model.backbone(images).values()
    torch.testing.assert_close(model.roi_heads.box_head(level), expected)


def test_layer4_multiplies_for_every_region() -> None:
    """Its positions are cells of a region times regions, in torch and in the exported graph."""
    from lth_deploy.compiler.model.capture import capture
    from lth_deploy.compiler.planning.mac_count import positions
    from lth_deploy.detectors.exportable import ExportableDetector

    model = tiny_detector(NAME, norm="frozen").eval()
    regions: list[int] = []
    model.roi_heads.box_head.register_forward_hook(lambda *found: regions.append(len(found[-1])))
    image = picture(64, 96)
    layers = scoped_layers(model, "default", parts=["backbone", "rpn", "box_head", "predictor"])
    pixels = torch.from_numpy(image).permute(2, 0, 1) / 255
    found = measure_positions(model, layers, [pixels])
    cells = 4 * 4  # of 7 x 7, at stride 2
    count = regions[0]
    assert count > 1
    head = {name: times for name, times in found.items() if "layer4" in name}
    assert set(head.values()) == {count * cells}
    assert found["roi_heads.box_predictor.cls_score.weight"] == count
    assert found["backbone.body.layer3.0.conv1.weight"] == 4 * 6
    assert found["rpn.head.cls_logits.weight"] == 4 * 6
    graph = positions(normalize(capture(ExportableDetector(model), image)), {"image": image})
    assert {name.removeprefix("model."): times for name, times in graph.items()} == found


def test_frozen_stages_are_those_of_the_trunk() -> None:
    model = build_detector(tiny_spec(NAME, frozen_layers=4), CLASSES)
    trainable = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trainable
    assert not any(name.startswith("backbone.") for name in trainable)
    assert any(name.startswith("roi_heads.box_head.layer4.") for name in trainable)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("mask_rcnn/c4", {}, "layout 'c4' is for faster_rcnn; 'mask_rcnn' has no such form"),
        (NAME, {"fpn_width": 64}, "fpn_width 64 means nothing in layout 'c4'"),
        (NAME, {"head_width": 512}, "head_width 512 means nothing in layout 'c4'"),
        (NAME, {"frozen_layers": 5}, "frozen_layers 5 would freeze layer4"),
        ("faster_rcnn", {"roi_cells": 7}, "roi_cells 7 means nothing in layout 'fpn'"),
        ("retinanet", {"layout": "c4", "fpn_width": 256, "head_width": 1024}, "'retinanet' has no such form"),
    ],
)
def test_what_the_layout_has_no_place_for_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_spec(name, **changes)


def test_nobody_publishes_weights_of_the_whole_detector() -> None:
    spec = tiny_spec(NAME, backbone="resnet50", weights="torchvision")
    with pytest.raises(RecipeError, match="publishes none for faster_rcnn on resnet50 in layout 'c4'"):
        build_detector(spec, CLASSES)


def test_no_proposal_at_all_gives_no_detection() -> None:
    model = tiny_detector(NAME)
    model.rpn.score_thresh = 2.0
    found = predict(model, [picture(64, 80)])[0]
    assert found.boxes.shape == (0, 4)
    assert found.scores.dtype == np.float32
