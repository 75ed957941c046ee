"""Which layers of real networks can lose whole filters, and which lose the same ones."""

from typing import Any

import pytest

from tests.tiny_detectors import tiny_detector, tiny_spec, torch

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.detectors.families.classifier import classifier
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers
from lth_deploy.pruning.scope import scoped_layers

BODY = "backbone.body."


def ties(model: Any, scope: Any = "default") -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Tied layers, and the layers that keep all filters; `.weight` left out."""
    layers = scoped_layers(model, scope)
    found = {
        name.removesuffix(".weight"): tuple(one.removesuffix(".weight") for one in coupled)
        for name, coupled in coupled_layers(model, layers).items()
    }
    return found, {layer.module_name for layer in layers} - found.keys()


def test_every_layer_of_retinanet_can_lose_filters() -> None:
    found, kept = ties(tiny_detector("retinanet"))
    assert kept == set()
    assert found[f"{BODY}layer2.0.conv1"] == (f"{BODY}layer2.0.conv1",)
    assert set(found[f"{BODY}layer3.0.conv2"]) == {
        f"{BODY}layer3.0.conv2",
        f"{BODY}layer3.0.downsample.0",
        f"{BODY}layer3.1.conv2",
    }
    assert {"backbone.fpn.extra_blocks.p6", "backbone.fpn.layer_blocks.0.0"} < set(
        found["backbone.fpn.layer_blocks.1.0"]
    )
    assert all(found[partner] == coupled for coupled in found.values() for partner in coupled)


def test_levels_that_regions_are_pooled_from_stay() -> None:
    found, kept = ties(tiny_detector("faster_rcnn"))
    assert kept == {f"backbone.fpn.layer_blocks.{level}.0" for level in range(4)}
    assert {"roi_heads.box_head.fc6", "roi_heads.box_head.fc7", "rpn.head.conv.0.0"} <= found.keys()


def test_the_last_stage_of_a_classifier_stays() -> None:
    torch.manual_seed(0)
    model = classifier(tiny_spec("retinanet").model_copy(update={"name": "classifier"}), 3, 0)
    found, kept = ties(model)
    assert kept == {f"{BODY}layer4.{one}" for one in ("0.conv2", "0.downsample.0", "1.conv2")}
    assert f"{BODY}layer4.1.conv1" in found


def test_a_group_stays_whole_where_one_of_it_is_not_pruned() -> None:
    model = tiny_detector("retinanet")
    _, kept = ties(model, "paper")  # shortcuts stay dense
    assert kept == {f"{BODY}layer{stage}.{one}" for stage in (2, 3, 4) for one in ("0.conv2", "1.conv2")}
    model.get_parameter(f"{BODY}conv1.weight").requires_grad_(False)
    _, kept = ties(model)
    assert kept == {f"{BODY}layer1.0.conv2", f"{BODY}layer1.1.conv2"}


def test_norms_over_groups_hold() -> None:
    found, _ = ties(tiny_detector("retinanet", norm="group"))
    assert not any(name.startswith(BODY) for name in found)


def test_depth_wise_layers_lose_what_they_read_and_so_do_the_gates_of_a_product() -> None:
    found, _ = ties(tiny_detector("ssdlite"))
    block = "backbone.features.0.5.block"
    assert set(found[f"{block}.1.0"]) == {f"{block}.0.0", f"{block}.1.0", f"{block}.2.fc2"}
    assert found[f"{block}.2.fc1"] == (f"{block}.2.fc1",)
